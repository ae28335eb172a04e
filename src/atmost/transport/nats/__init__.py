"""nats://: whole datagrams through a cluster of NATS servers, one subject a shard.

The engine is the server; what speaks to it here is the part of its client protocol that at-most-once needs, and no more
(https://docs.nats.io/reference/reference-protocols/nats-protocol).
nats-py is not used for this, for two measured reasons: its asyncio loop needs a thread of its own, which a sender that is busy keeps from
running (85 % of the datagrams were dropped in front of it where writing from the sender's own thread dropped none, docs/nats.md), and after a
reconnect it sends what was pending before.
"""
