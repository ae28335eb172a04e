"""Decides what the agent sends and when: readings of this host, a heartbeat, and the lines of followed log files.

`turn` does what is due and returns; the caller sleeps between turns and owns the sender.
Nothing here waits. A value that the host does not report is left out, never sent as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from atmost.agent.follow import Follower, FollowEvent, FollowEventKind
from atmost.agent.lines import Line
from atmost.agent.readings import HostReadings, token
from atmost.endpoint.must_deliver import check_lossy, check_lossy_below
from atmost.endpoint.sender import Sender
from atmost.errors import PayloadTooLarge

_LOG_POLL: Final = 0.2
"""Seconds between two polls of a followed file."""
_ENVELOPE: Final = 256
"""Bytes of a log message besides its text."""


class Agent:
    """Sends what this host reports, over one sender."""

    def __init__(
        self, sender: Sender, now: float, *, interval: float, logs: Sequence[Follower], notice: Callable[[str], None]
    ) -> None:
        """Takes the first sample of the host.

        Args:
            sender: where everything goes; its name is the heartbeat's name.
            now: monotonic, seconds.
            interval: seconds between readings, and between heartbeats.
            logs: the followed files.
            notice: called with one line when something happens to a followed file.

        Raises:
            LossNotTolerated: a subject that it would send on was declared must-deliver.
        """
        check_lossy_below("metrics")
        for follower in logs:
            check_lossy(_subject_of(follower))
        self._sender = sender
        self._interval = interval
        self._logs = logs
        self._notice = notice
        self._readings = HostReadings(now)
        self._started = now
        self._next_reading = now + interval
        self._next_look = now
        self._beat = 0
        self._heartbeat(now)

    def turn(self, now: float) -> float:
        """Sends what is due; returns seconds until the next turn."""
        if now >= self._next_look:
            self._next_look = now + _LOG_POLL
            for follower in self._logs:
                self._lines(follower, follower.poll(now))
        if now >= self._next_reading:
            # After a pause: one reading for the whole pause, then the same rhythm as before.
            self._next_reading += self._interval * (1 + (now - self._next_reading) // self._interval)
            self._heartbeat(now)
            for name, value in self._readings.read(now).items():
                self._sender.send(f"metrics.{name}", value)
        wait = self._next_reading - now
        return max(0.0, min(wait, self._next_look - now) if self._logs else wait)

    def close(self) -> None:
        """Sends the last lines of the followed files, as far as they are written."""
        for follower in self._logs:
            self._lines(follower, follower.close())

    def _heartbeat(self, now: float) -> None:
        payload = {"number": self._beat, "interval": self._interval, "uptime": now - self._started}
        self._sender.send(f"heartbeats.{token(self._sender.name)}", payload)
        self._beat += 1

    def _lines(self, follower: Follower, found: Sequence[Line | FollowEvent]) -> None:
        subject = _subject_of(follower)
        for entry in found:
            if isinstance(entry, Line):
                self._line(subject, follower.path, entry)
            else:
                self._notice(_tell(entry))

    def _line(self, subject: str, path: str, line: Line) -> None:
        name = Path(path).name.encode(errors="replace").decode()  # a file may be called by bytes that are not UTF-8
        payload: dict[str, Any] = {"message": line.text, "file": name}
        if line.truncated:
            payload |= {"truncated": True, "original_bytes": line.original_bytes}
        try:
            self._sender.send(subject, payload)
        except PayloadTooLarge as error:
            head = line.text.encode()[: max(0, error.limit - _ENVELOPE - len(name.encode()))]
            payload |= {
                "message": head.decode(errors="ignore"),
                "truncated": True,
                "original_bytes": line.original_bytes,
            }
            self._sender.send(subject, payload)


def _subject_of(follower: Follower) -> str:
    return f"logs.{token(Path(follower.path).stem)}"


def _tell(event: FollowEvent) -> str:
    lost = f", {event.lost_bytes:,} bytes were not read" if event.lost_bytes else ""
    detail = f": {event.detail}" if event.detail else ""
    advice = " (it is followed as soon as it exists)" if event.kind is FollowEventKind.WAITING else ""
    return f"{event.path}: {event.kind.value.replace('_', ' ')}{detail}{lost}{advice}"
