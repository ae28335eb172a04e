"""The collector: what arrives, from whom, and what did not."""
