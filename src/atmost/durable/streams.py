"""Creates the stream and the consumer a guarantee stands on, or verifies those that are there; never changes a stream.

A stream that silently deletes what nobody processed, or keeps nothing on disk, would make the guarantee a claim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from atmost.durable.errors import StreamMismatch
from atmost.durable.options import ConsumeOptions, Stream

if TYPE_CHECKING:
    from nats.js.api import ConsumerConfig, StreamConfig
    from nats.js.client import JetStreamContext

_OVERLAP: Final = 10065
"""The server's code for "subjects overlap with an existing stream"."""
_IMPOSSIBLE: Final = frozenset({10052, 10074})
"""For "no valid configuration", as overlapping subjects, and "replicas without a cluster": no retry helps."""
_IN_USE: Final = 10058
"""For "stream name already in use with a different configuration": somebody created it in this moment."""


async def ensure_stream(js: JetStreamContext, wanted: Stream) -> float:
    """Creates the stream where there is none, verifies it where there is one.

    Returns:
        Seconds for which it keeps a message; 0 for ever.

    Raises:
        StreamMismatch: it is not as it must be, or another stream keeps its subjects.
        nats.errors.Error: the server cannot be asked.
    """
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
    from nats.js.errors import APIError, NotFoundError

    try:
        config = (await js.stream_info(wanted.name)).config
    except NotFoundError:
        made = StreamConfig(
            name=wanted.name,
            subjects=list(wanted.subjects),
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            max_age=wanted.max_age,
            max_bytes=wanted.max_bytes or -1,
            duplicate_window=wanted.duplicate_window,
            num_replicas=wanted.replicas,
        )
        try:
            config = (await js.add_stream(made)).config
        except APIError as error:
            if error.err_code == _OVERLAP:
                raise StreamMismatch(
                    f"stream {wanted.name}", [f"another stream keeps some of {', '.join(wanted.subjects)}"]
                ) from None
            if error.err_code in _IMPOSSIBLE:
                raise StreamMismatch(f"stream {wanted.name}", [f"the server refuses it: {error.description}"]) from None
            if error.err_code != _IN_USE:
                raise
            config = (await js.stream_info(wanted.name)).config
    if problems := _stream_problems(config, wanted):
        raise StreamMismatch(f"stream {wanted.name}", problems)
    return config.max_age or 0.0


def _stream_problems(config: StreamConfig, wanted: Stream) -> list[str]:
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

    problems = []
    missing = [s for s in wanted.subjects if not any(covers(kept, s) for kept in config.subjects or ())]
    if missing:
        problems.append(f"it does not keep {', '.join(missing)}")
    if config.storage != StorageType.FILE:
        problems.append("it keeps messages in memory only")
    if config.no_ack:
        problems.append("it acknowledges nothing (no_ack)")
    limits = (config.max_msgs or 0, config.max_bytes or 0, config.max_msgs_per_subject or 0)
    if config.discard == DiscardPolicy.OLD and max(limits) > 0:
        problems.append("at its limit it deletes old messages, processed or not (discard must be new)")
    elif limits[2] > 0 and not config.discard_new_per_subject:
        problems.append(
            f"beyond {limits[2]} messages of a subject it deletes old ones, processed or not (discard_new_per_subject)"
        )
    if config.retention == RetentionPolicy.INTEREST:
        problems.append("it keeps nothing for which there is no consumer yet (retention must be limits)")
    if config.max_age and (not wanted.max_age or config.max_age < wanted.max_age):
        problems.append(f"it keeps messages for {config.max_age:g} s (max_age={wanted.max_age:g})")
    if config.duplicate_window < wanted.duplicate_window:
        problems.append(f"its duplicate window is {config.duplicate_window:g} s (wanted {wanted.duplicate_window:g})")
    if (config.num_replicas or 1) < wanted.replicas:
        problems.append(f"it has {config.num_replicas or 1} replicas (wanted {wanted.replicas})")
    return problems


async def ensure_consumer(js: JetStreamContext, stream: str, options: ConsumeOptions) -> None:
    """Creates the consumer where there is none, verifies it where there is one.

    The server sets no limit of deliveries: it would stop delivering silently, while this side says what it does with poison.

    Raises:
        StreamMismatch: it is of another kind, or no stream keeps the dead letters.
        nats.errors.Error: the server cannot be asked.
    """
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
    from nats.js.errors import NotFoundError

    if options.dead_letter is not None:
        try:
            await js.find_stream_name_by_subject(options.dead_letter)
        except NotFoundError:
            problem = f"no stream keeps the dead letters on {options.dead_letter}: add it to a stream's subjects"
            raise StreamMismatch(f"consumer {options.durable}", [problem]) from None
    wanted = ConsumerConfig(
        durable_name=options.durable,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=options.ack_wait,
        max_deliver=-1,
        filter_subjects=list(options.subjects) or None,
    )
    try:
        config = (await js.consumer_info(stream, options.durable)).config
    except NotFoundError:
        await js.add_consumer(stream, wanted)
        return
    if problems := _consumer_problems(config, options):
        raise StreamMismatch(f"consumer {options.durable} of stream {stream}", problems)
    if config.ack_wait != options.ack_wait:
        await js.add_consumer(stream, wanted)


def _consumer_problems(config: ConsumerConfig, options: ConsumeOptions) -> list[str]:
    from nats.js.api import AckPolicy

    problems = []
    if config.deliver_subject:
        problems.append("it pushes, and messages are pulled here")
    if config.ack_policy != AckPolicy.EXPLICIT:
        problems.append(f"it takes messages as acknowledged ({config.ack_policy})")
    if (config.max_deliver or -1) != -1:
        problems.append(f"the server stops delivering after {config.max_deliver} times, and tells nobody")
    kept = config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])
    if sorted(kept) != sorted(options.subjects):
        problems.append(f"it has the subjects {', '.join(kept) or '>'}")
    return problems


def covers(wide: str, narrow: str) -> bool:
    """Whether every subject that matches `narrow` matches `wide`."""
    theirs = narrow.split(".")
    for position, token in enumerate(wide.split(".")):
        if token == ">":
            return len(theirs) > position
        if position >= len(theirs) or theirs[position] == ">":
            return False
        if token not in {"*", theirs[position]}:
            return False
    return len(wide.split(".")) == len(theirs)
