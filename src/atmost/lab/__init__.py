"""The lab: links that lose, duplicate, delay and reorder on purpose, and count what they really did."""
