"""How much one datagram may hold; what is beyond is refused, by reason."""

from __future__ import annotations

from typing import Final

MAX_LINE: Final = 8192
"""Bytes of a line: what the largest DogStatsD clients put into a whole datagram."""
MAX_LINES: Final = 4096
"""Lines of a datagram longer than `MAX_LINE`; a shorter one holds no more that are not empty."""
MAX_VALUES: Final = 4096
"""Values, or samples, packed into a line."""
MAX_TAGS: Final = 64
"""Tags of a line."""
MAX_NAME: Final = 200
"""Characters of a name, as DogStatsD has it."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999."""
