"""nats://: whole datagrams through a cluster of NATS servers, one subject a shard.

The server does the work. This package implements the part of its client protocol that at-most-once needs, and no more
(https://docs.nats.io/reference/reference-protocols/nats-protocol).
nats-py is not used, for two measured reasons. Its asyncio loop needs a thread of its own, which a busy sender keeps from running: 84 % of the
datagrams were dropped before reaching it, where writing from the sender's own thread dropped none (docs/nats.md). And after a reconnect it
sends whatever was pending before.
"""
