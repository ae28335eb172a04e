"""A log file with a follower, told about in short: what the tests of following share."""

from atmost.agent.follow import Follower, FollowEvent, FollowEventKind, FollowOptions
from atmost.agent.lines import Line

FOUND = FollowEventKind.FOUND
LEFT_UNREAD = FollowEventKind.LEFT_UNREAD
MISSED = FollowEventKind.MISSED
RELEASED = FollowEventKind.RELEASED
ROTATED = FollowEventKind.ROTATED
TRUNCATED = FollowEventKind.TRUNCATED
UNREADABLE = FollowEventKind.UNREADABLE
WAITING = FollowEventKind.WAITING


class Scene:
    """A log file with a follower, and the time it is polled at."""

    def __init__(self, path):
        self.path = path
        self.now = 100.0
        self.follower = None

    def follow(self, **options):
        self.follower = Follower(self.path, FollowOptions(**options))
        return self

    def write(self, content, path=None):
        with (path or self.path).open("ab") as log:
            log.write(content)

    def rotate(self, name="app.log.1"):
        """Rename the log away and create an empty one."""
        rotated = self.path.rename(self.path.with_name(name))
        self.path.touch()
        return rotated

    def poll(self, **bounds):
        """Poll once, a fifth of a second after the last time; short answers for short tests."""
        self.now += 0.2
        return [short(found) for found in self.follower.poll(self.now, **bounds)]

    def wait(self, seconds):
        """Poll until that much time has passed, and return everything."""
        found, end = [], self.now + seconds
        while self.now < end:
            found += self.poll()
        return found

    def close(self, **bounds):
        return [short(found) for found in self.follower.close(**bounds)]


def short(found):
    """Return a whole line as its text, and an event as its kind, with what is known to be lost."""
    match found:
        case Line(truncated=False, complete=True):
            return found.text
        case FollowEvent(lost_bytes=0):
            return found.kind
        case FollowEvent():
            return found.kind, found.lost_bytes
    return found
