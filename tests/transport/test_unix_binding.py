"""Binding a Unix socket: exclusively, over what a killed receiver left behind and over nothing else (H2)."""

import fcntl
import os
import signal
import socket
import stat
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from atmost import Receiver
from atmost.errors import AddressInUse, BindError
from atmost.transport import unix
from atmost.transport.url import open_inlet
from tests.real import Program, program, run, until

HOLD = """
import sys
from atmost.transport.url import open_inlet
inlet = open_inlet(sys.argv[1])
print(inlet.url, flush=True)
sys.stdin.read()
inlet.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a socket may be."""
    return tmp_path / "a.sock"


@pytest.fixture
def url(path: Path) -> str:
    """The same as a URL."""
    return f"unix://{path}"


def kill(other: Program) -> None:
    """End it before it can clean up."""
    os.kill(other.pid, signal.SIGKILL)
    other.process.wait()


def test_closing_leaves_nothing_behind(path: Path, url: str) -> None:
    """Neither socket nor lock; and the same can be bound again."""
    for _ in range(2):
        receiving = open_inlet(url)
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert sorted(file.name for file in path.parent.iterdir()) == ["a.sock", "a.sock.lock"]
        receiving.close()
        receiving.close()
        assert list(path.parent.iterdir()) == []


@pytest.mark.needs("linux")
def test_a_path_in_use_names_its_holder(url: str) -> None:
    """By name and process id; the holder goes on undisturbed."""
    with program(HOLD, url) as other:
        other.line()
        with pytest.raises(AddressInUse) as refused:
            open_inlet(url)
        assert refused.value.holder is not None
        assert refused.value.holder.endswith(f"(pid {other.pid})")
        assert str(refused.value).startswith(f"{url} is in use by {refused.value.holder}: stop that receiver")
        assert other.end() == 0
    open_inlet(url).close()


def test_what_a_killed_receiver_left_behind_is_removed(path: Path, url: str) -> None:
    """Nobody answers on its socket, and its lock died with it."""
    with program(HOLD, url) as other:
        other.line()
        kill(other)
        assert path.exists()
        open_inlet(url).close()
    assert list(path.parent.iterdir()) == []


def test_a_socket_without_a_lock_is_removed_only_if_nobody_answers(path: Path, url: str) -> None:
    """Another program's socket is asked, by connecting to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as foreign:
        foreign.bind(str(path))
        with pytest.raises(AddressInUse):
            open_inlet(url)
        assert path.exists()
    open_inlet(url).close()


def test_a_listening_stream_socket_is_a_live_one(path: Path, url: str) -> None:
    """It refuses datagrams, which is an answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        with pytest.raises(AddressInUse):
            open_inlet(url)
        assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "fifo"])
def test_what_is_no_socket_is_never_removed(kind: str, path: Path, url: str) -> None:
    """Whatever it is, it may be somebody's."""
    {"file": path.touch, "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(BindError, match="a file that is not a socket is there: choose another path, or move the file"):
        open_inlet(url)
    assert [file.name for file in path.parent.iterdir()] == ["a.sock"]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """With the command that makes it."""
    with pytest.raises(BindError) as refused:
        open_inlet(f"unix://{tmp_path}/run/atmost/a.sock")
    folder = f"{tmp_path}/run/atmost"
    assert refused.value.problem == f"the directory {folder} does not exist: mkdir -p {folder}"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a directory where no file can be made")
def test_a_directory_that_takes_no_files_is_not_called_missing() -> None:
    """The system says the same of both; making the directory would be no help."""
    with pytest.raises(BindError) as refused:
        open_inlet("unix:///proc/a.sock")
    assert "does not exist" not in refused.value.problem


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "run").touch()
    with pytest.raises(BindError, match=r": Not a directory$"):
        open_inlet(f"unix://{tmp_path}/run/a.sock")


AS_NOBODY = """
import os, sys
from atmost.errors import BindError
from atmost.transport.url import open_inlet
import fcntl  # the interpreter may be where nobody may look
if os.geteuid() == 0:
    os.setuid(65534)
try:
    open_inlet(sys.argv[1])
except BindError as refused:
    print(refused.problem)
"""


@pytest.mark.parametrize("inside", ["folder", "lock"])
def test_a_missing_permission_names_the_directory(inside: str) -> None:
    """Where no file may be made, and where the lock is somebody else's."""
    with TemporaryDirectory() as name:  # nobody may look into pytest's own
        folder = Path(name)
        if inside == "lock":
            (folder / "a.sock.lock").touch(mode=0o000)
        folder.chmod(0o555)
        assert run(AS_NOBODY, f"unix://{folder}/a.sock") == f"no permission to create files in {folder}\n"
        folder.chmod(0o755)


def delete_all(path: Path) -> None:
    """Delete the socket and its lock, as somebody who tidies up."""
    for file in list(path.parent.iterdir()):
        file.unlink()


@pytest.mark.needs("linux")
def test_deleting_both_files_lets_nobody_else_in(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two receivers would live at once (H2). The first one finds that nobody can send to it any more, and ends."""
    monkeypatch.setattr(unix, "_LOOK", 0.0)
    first = open_inlet(url)
    assert first.ended is None
    delete_all(path)
    with pytest.raises(AddressInUse) as refused:
        open_inlet(url)
    assert refused.value.holder is not None
    assert refused.value.holder.endswith(f"(pid {os.getpid()})")
    assert first.ended == "its socket was deleted, so that no sender can reach it any more"
    first.close()
    open_inlet(url).close()
    assert list(path.parent.iterdir()) == []


@pytest.mark.needs("netns")
def test_where_the_locks_do_not_reach_the_first_one_ends(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another network namespace, and over deleted files: the first one sees it, and leaves alone what is no longer its own."""
    monkeypatch.setattr(unix, "_LOOK", 0.0)
    first = open_inlet(url)
    delete_all(path)
    with program(HOLD, url, prefix=["unshare", "--net", "--"]) as second:
        second.line()
        assert first.ended == "another file stands at its path, so that no sender can reach it any more"
        first.close()
        assert sorted(file.name for file in path.parent.iterdir()) == ["a.sock", "a.sock.lock"]
        with pytest.raises(AddressInUse):
            open_inlet(url)
        assert second.end() == 0
    assert list(path.parent.iterdir()) == []


def test_a_receiver_whose_socket_is_deleted_ends(path: Path, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Though nothing arrives any more that could make it look."""
    with Receiver(url, clock_guard=0) as receiver:
        delete_all(path)
        assert list(receiver) == []
        assert receiver.closed
    assert "its socket was deleted, so that no sender can reach it any more; this receiver is closed" in caplog.text


SQUAT = """
import os, socket, sys
os.setuid(65534)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
sock.bind(sys.argv[1].encode().replace(b"@", bytes(1)))
sock.listen(1)
print("here", flush=True)
sys.stdin.read()
"""


@pytest.mark.needs("root", "linux")
def test_a_stranger_who_takes_the_abstract_name_keeps_nobody_out(path: Path, url: str) -> None:
    """Anybody of the network namespace may take such a name, but not everybody may receive at this path."""
    before = abstract_names()
    with closing(open_inlet(url)):
        during = abstract_names()
    (name,) = during - before - abstract_names()
    with program(SQUAT, name) as stranger:
        assert stranger.line() == "here"
        with closing(open_inlet(url)):
            assert path.exists()


def abstract_names() -> set[str]:
    """Return the names that are taken here; other tests come and go."""
    rows = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    return {row.split()[-1] for row in rows if "@atmost-" in row}


@pytest.mark.parametrize("end", ["dropped", "abandoned"])
def test_a_dropped_receiver_gives_the_path_free(end: str, path: Path, url: str) -> None:
    """Nobody need close it for the next one to come; but in a forked child nothing of the parent's is removed."""
    inlet = open_inlet(url)
    if end == "abandoned":
        pid = os.fork()
        if not pid:
            del inlet
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert path.exists()
    del inlet
    assert list(path.parent.iterdir()) == []
    open_inlet(url).close()


def test_a_lock_whose_file_vanishes_is_taken_anew(path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder removed it between our opening and our locking: a lock on a nameless file would exclude nobody."""
    lock = Path(f"{path}.lock")
    opened = []

    def open_and_lose(name: str, flags: int, mode: int) -> int:
        descriptor = os.open(name, flags, mode)
        if len(opened) < 2:
            lock.unlink()
        if len(opened) == 1:
            lock.touch()
        opened.append(descriptor)
        return descriptor

    class System:
        open = staticmethod(open_and_lose)

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    monkeypatch.setattr(unix, "os", System())
    with closing(open_inlet(url)):
        assert len(opened) == 3
        assert lock.stat().st_ino == os.fstat(opened[-1]).st_ino


def test_whoever_holds_the_lock_holds_the_path(path: Path, url: str) -> None:
    """Also between removing a stale socket and binding anew, when nobody answers there: two could do it at once (H2)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(path))
    with Path(f"{path}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AddressInUse) as refused:
            open_inlet(url)
        assert refused.value.holder is None
        assert path.exists()
    open_inlet(url).close()


RACE = """
import sys
from atmost.errors import AddressInUse
from atmost.transport.url import open_inlet
sys.stdin.readline()
try:
    inlet = open_inlet(sys.argv[1])
except AddressInUse:
    print("refused", flush=True)
else:
    print("bound", flush=True)
sys.stdin.readline()
"""


def test_of_several_that_start_at_once_over_a_stale_socket_one_wins(path: Path, url: str) -> None:
    """Without the lock one would remove the socket that another has just bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(path))
    with program(RACE, url) as a, program(RACE, url) as b, program(RACE, url) as c:
        for other in (a, b, c):
            other.tell()
        assert sorted(other.line() for other in (a, b, c)) == ["bound", "refused", "refused"]


FORK = """
import os, sys
from atmost.transport.url import open_inlet
inlet = open_inlet(sys.argv[1])
if child := os.fork():
    os.waitpid(child, 0)
    print(inlet.receive(), flush=True)
    sys.stdin.readline()
    inlet.close()
else:
    inlet.abandon()
    print("abandoned", flush=True)
    sys.stdin.readline()
    os._exit(0)
"""


def test_a_forked_child_that_abandons_it_leaves_path_and_lock(path: Path, url: str) -> None:
    """They stay the parent's, which goes on receiving (H2)."""
    with program(FORK, url) as other:
        assert other.line() == "abandoned"
        with pytest.raises(AddressInUse):
            open_inlet(url)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"x", str(path))
        other.tell()
        assert other.line() == "b'x'"
        other.tell()
        assert other.end() == 0
    until(lambda: not path.exists())
