"""Encodes messages for JetStream and decodes them: the payload as MessagePack, the rest in headers.

Pure functions, safe from any thread. Foreign bytes never raise: a delivery that is not a message of ours gives None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import msgspec

from atmost.core.events import Arrival, Message, Session
from atmost.endpoint.encoding import explain

if TYPE_CHECKING:
    from nats.aio.msg import Msg

ID: Final = "Atmost-Id"
NAME: Final = "Atmost-Name"
SENT_US: Final = "Atmost-Sent-Us"
ATTEMPT: Final = "Atmost-Attempt"
DEDUPLICATED_ID: Final = "Nats-Msg-Id"
"""The header by which JetStream itself refuses a second copy."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_NOBODY: Final = bytes(18)


class DurableMessage(Message, array_like=True, gc=False, eq=False):
    """A `Message` with further facts about its delivery; a handler written for `Message` can take it.

    `session.name` is the publisher's name, `sent_at` its clock at the first attempt, `received_at` this one's.
    """

    id: str = ""
    """The publisher's id; for a message without one, made of its stream, number and time of storing."""
    attempt: int = 1
    """Which delivery of it this is, from 1."""
    publish_attempt: int = 1
    """Which attempt of its publisher was stored, from 1."""
    stream: str = ""
    consumer: str = ""
    sequence: int = 0
    """Its number in the stream."""

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before; whether it was processed then is unknown."""
        return self.attempt > 1

    @property
    def may_be_repeated(self) -> bool:
        """Whether it may have been processed before: delivered again, or published again because no answer came."""
        return self.attempt > 1 or self.publish_attempt > 1

    @property
    def scope(self) -> str:
        """Stream and consumer: within it an id stands for one message."""
        return f"{self.stream}/{self.consumer}"


def encode_payload(payload: Any) -> bytes:
    """The payload's encoded bytes.

    Raises:
        PayloadNotEncodable: something in it cannot be carried.
    """
    try:
        return _encode(payload)
    except Exception as error:  # noqa: BLE001  an encoder hook of a user's type may raise anything
        raise explain(payload, error) from None


def headers(message_id: str, name: str, sent_us: int, attempt: int, *, deduplicated: bool) -> dict[str, str]:
    """The headers beside the payload.

    Args:
        message_id: the same in all attempts.
        name: the publisher's.
        sent_us: of the first attempt, µs since 1970.
        attempt: of the publisher, from 1.
        deduplicated: whether the server is to refuse a second copy.
    """
    made = {ID: message_id, NAME: quote(name, errors="replace"), SENT_US: str(sent_us), ATTEMPT: str(attempt)}
    return made | {DEDUPLICATED_ID: message_id} if deduplicated else made


def unpack(raw: Msg, received_us: int) -> DurableMessage | None:
    """What was published, or None when the payload is not MessagePack.

    Args:
        raw: a delivery of JetStream.
        received_us: now, µs since 1970.
    """
    try:
        payload = _decode(raw.data)
    except Exception:  # noqa: BLE001  bytes of others raise DecodeError, RecursionError and more
        return None
    facts, said = raw.metadata, raw.headers or {}
    session = Session(_NOBODY, 0)
    session.name = unquote(said.get(NAME, ""))
    stored_us = int(
        facts.timestamp.timestamp() * 1e6
    )  # distinguishes a stream from one that was made anew and counts from 1
    sent_us = _number(said.get(SENT_US), stored_us)
    return DurableMessage(
        raw.subject,
        payload,
        Arrival(session, facts.sequence.stream, sent_us, received_us),
        id=said.get(DEDUPLICATED_ID) or said.get(ID) or f"{facts.stream}:{facts.sequence.stream}:{stored_us}",
        attempt=facts.num_delivered,
        publish_attempt=_number(said.get(ATTEMPT), 1),
        stream=facts.stream,
        consumer=facts.consumer,
        sequence=facts.sequence.stream,
    )


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else otherwise
