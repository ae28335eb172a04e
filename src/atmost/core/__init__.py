"""The rules: bytes and `now` in, bytes and events out; no socket, clock, thread, randomness or logging."""
