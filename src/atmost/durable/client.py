"""nats-py's client without one leak: it keeps the place for an answer for ever when the question cannot be handed over.

Requires the extra `nats`.
"""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError, OutboundBufferLimitError


class Asking(Client):
    """Refuses what `publish` would refuse, before anything is kept for its answer."""

    buffered = False
    """Whether messages published without a connection wait for one, as a caller's `pending_size` may ask."""

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,  # noqa: FBT001, FBT002  as nats-py has it
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's.

        Raises:
            OutboundBufferLimitError: there is no connection at this moment.
            MaxPayloadError: the payload is more than the server takes.
        """
        if not self.is_connected and not self.is_closed and not self.buffered:
            raise OutboundBufferLimitError
        if len(payload) > self.max_payload:
            raise MaxPayloadError
        return await super().request(subject, payload, timeout, old_style, headers)
