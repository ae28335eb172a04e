"""What the collector knows, bounded and in memory; pure: events and `now` in, answers out."""
