"""nats-py's client with one leak fixed: it never frees the place for an answer when the request could not be handed over.

Requires the extra `nats`.
"""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import MaxPayloadError, OutboundBufferLimitError


class Asking(Client):
    """Refuses a request that `publish` would refuse, before a place for its answer is kept."""

    buffered = False
    """Whether messages published without a connection wait for one, as a caller may ask by `pending_size`."""

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
            MaxPayloadError: the payload is larger than the server accepts.
        """
        if not self.is_connected and not self.is_closed and not self.buffered:
            raise OutboundBufferLimitError
        if len(payload) > self.max_payload:
            raise MaxPayloadError
        return await super().request(subject, payload, timeout, old_style, headers)
