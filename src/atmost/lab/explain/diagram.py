"""A story as a sequence diagram in plain text: the sender to the left, the receiver to the right, time downwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from atmost.lab.explain.story import Lane, Line, Story

_WIDTH: Final = 66
"""Characters between the two ends; with the time, a line fits a terminal of 80."""
_FOR_A_PAYMENT: Final = ("the payment is lost", "the customer is charged once")


def draw(story: Story) -> list[str]:
    """The diagram, one string a line."""
    return list(_lines(story))


def _lines(story: Story) -> Iterator[str]:
    yield f"{story.guarantee}: {story.fault.value}"
    yield f"{'':12}sender{'receiver':>{_WIDTH - 4}}"
    previous = ""
    for line in story.lines:
        time = f"{line.seconds * 1000:8.1f} ms"
        yield f"{time if time != previous else '':11} |{_between(line)}|"
        previous = time
    yield f"{'':12}{_outcome(story)}"
    times = story.processed
    yield f"{'':12}As a payment: {_FOR_A_PAYMENT[times] if times < 2 else f'the customer is charged {times} times'}."


def _between(line: Line) -> str:
    match line.lane:
        case Lane.SENDER:
            return f" {line.text}".ljust(_WIDTH)
        case Lane.RECEIVER:
            return f"{line.text} ".rjust(_WIDTH)
        case Lane.THERE:
            shaft = f"-- {line.text} "
            return f"{shaft:-<{_WIDTH * 2 // 3}}x lost".ljust(_WIDTH) if line.lost else f"{shaft:-<{_WIDTH - 1}}>"
        case Lane.BACK:
            shaft = f" {line.text} --"
            return f"lost x{shaft:->{_WIDTH * 2 // 3}}".rjust(_WIDTH) if line.lost else f"<{shaft:->{_WIDTH - 1}}"


def _outcome(story: Story) -> str:
    times = story.processed
    processed = ("never processed", "processed once")[times] if times < 2 else f"processed {times} times"
    told = ", and the receiver says so" if story.told else ""
    kept = f", {story.kept} bytes kept over a crash" if story.kept else ""
    return f"{processed}{told}; {story.datagrams} datagrams, {story.bytes:,} bytes{kept}."
