"""The way out when a loss is not acceptable: at least once and exactly once, on NATS JetStream."""
