"""Two hosts of our own: network namespaces joined by a virtual cable, with nftables in each.

A namespace here has no name. It lives as long as a process in it that waits for the end of its input, so that nothing is
left behind even when the tests are killed. Interfaces are made inside the namespaces, and nothing outside them is touched.
Its addresses are those of RFC 5737, which nobody has.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple, Self

SENDER_HOST: Final = "192.0.2.1"
RECEIVER_HOST: Final = "192.0.2.2"
PORT: Final = 7140
URL: Final = f"udp://{RECEIVER_HOST}:{PORT}"
ONE_CLOCK: Final = {"future_bound": 0.1, "clock_guard": 0.1}
"""Options for receivers that should be ready soon: the two hosts share a clock, which the presets for networks do not presume."""
CABLE: Final = "cable"
"""The interface's name on both sides."""
_IS_DATA: Final = "@th,72,8 0x11"
"""nftables for the second byte of the payload: version 1, DATA."""
_OVERHEAD: Final = 20 + 8 + 48 + 3 + 16
"""IP, UDP, our header, the head of the array of messages, our tag: bytes."""
_MACS: Final = {SENDER_HOST: "02:00:00:00:00:01", RECEIVER_HOST: "02:00:00:00:00:02"}
_TIMEOUT: Final = 30
_RULES: Final = """
table ip atmost
delete table ip atmost
table ip atmost {{
  {counters}
  chain lose {{
    {is_data} counter name data drop
    counter name other drop
  }}
  chain ours {{
    {rules}
  }}
  chain hooked {{
    type filter hook {hook} priority 0; policy accept;
    udp dport {ports} jump ours
  }}
}}
"""


def encoded_size(width: int) -> int:
    """Bytes of an encoded message: an array of two, the subject `s`, and an id of at most 31 characters."""
    return 1 + 2 + 1 + width


class Counter(NamedTuple):
    """What an nftables counter saw."""

    datagrams: int
    bytes: int

    def messages(self, size: int) -> int:
        """Messages in them, when all were DATA of messages of one size: what else is in a datagram is known (GUARANTEE §3).

        Args:
            size: of an encoded message, bytes.
        """
        count, rest = divmod(self.bytes - _OVERHEAD * self.datagrams, size)
        assert rest == 0, "not what was counted here"
        return count


class Host:
    """One network namespace."""

    def __init__(self, address: str) -> None:
        """Makes it, with a loopback interface and nothing else.

        Args:
            address: of its end of the cable.
        """
        self.address = address
        self._keeper = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.write("here\n")
        self._keeper.stdin.flush()
        # What comes back comes from inside: from now on /proc tells the new namespace.
        assert self._keeper.stdout.readline() == "here\n"
        self.prefix = ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]
        assert not Path(f"/proc/{self.pid}/ns/net").samefile("/proc/self/ns/net")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        """A process inside."""
        return self._keeper.pid

    def run(self, *command: str, given: str | None = None) -> str:
        """Runs a command inside; its output. It must succeed."""
        done = subprocess.run(
            [*self.prefix, *command], input=given, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def rules(self, hook: str, *rules: str, counters: Sequence[str] = ()) -> None:
        """Puts these rules in place, instead of the ones before; all counters are 0.

        Args:
            hook: input or output.
            rules: nftables, for datagrams to our ports only; `goto lose` drops and counts as `data` or as `other` (beacons).
            counters: the names of further counters.
        """
        self.run(
            "nft",
            "-f",
            "-",
            given=_RULES.format(
                hook=hook,
                ports=f"{{ {PORT}, {PORT + 1} }}",
                rules="\n    ".join(rules),
                counters="\n  ".join(f"counter {name} {{ }}" for name in ("data", "other", *counters)),
                is_data=_IS_DATA,
            ),
        )

    def heal(self) -> None:
        """Lets everything through; the counters stay as they are."""
        self.run("nft", "flush", "chain", "ip", "atmost", "ours")

    def counters(self) -> dict[str, Counter]:
        """What the counters say."""
        found = json.loads(self.run("nft", "-j", "list", "counters"))["nftables"]
        counters = [entry["counter"] for entry in found if "counter" in entry]
        return {counter["name"]: Counter(counter["packets"], counter["bytes"]) for counter in counters}

    def dropped(self, *names: str) -> int:
        """Datagrams that these counters saw; none given, those that `goto lose` dropped."""
        counters = self.counters()
        return sum(counters[name].datagrams for name in names or ("data", "other") if name in counters)

    def receive_buffer_errors(self) -> int:
        """What the kernel dropped at all UDP sockets of this host for want of buffer."""
        names, values = [line for line in self._proc("snmp").splitlines() if line.startswith("Udp:")]
        return int(dict(zip(names.split(), values.split(), strict=True))["RcvbufErrors"])

    def dropped_by_cable(self) -> int:
        """What the cable dropped at this end, in and out: a backlog that was full."""
        rows = json.loads(self.run("ip", "-j", "-s", "link", "show", "dev", CABLE))
        stats = rows[0]["stats64"]
        return int(stats["rx"]["dropped"] + stats["tx"]["dropped"])

    def cable(self, *, up: bool) -> None:
        """Pulls the plug, or puts it in again with the neighbour's address known, so that nothing waits for ARP."""
        self.run("ip", "link", "set", CABLE, "up" if up else "down")
        if up:
            other = SENDER_HOST if self.address == RECEIVER_HOST else RECEIVER_HOST
            self.run("ip", "neighbour", "replace", other, "lladdr", _MACS[other], "dev", CABLE, "nud", "permanent")

    def close(self) -> None:
        """Lets it go; it is gone with the last process inside."""
        self._keeper.communicate()

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/net/{name}").read_text(encoding="ascii")


class Network:
    """A host that sends, a host that receives, and the cable between them."""

    def __init__(self) -> None:
        """Makes both and joins them.

        A datagram stays one on its way, never a bundle of segments, so that what nftables counts are datagrams.
        """
        with ExitStack() as stack:
            self.sender = stack.enter_context(closing(Host(SENDER_HOST)))
            self.receiver = stack.enter_context(closing(Host(RECEIVER_HOST)))
            self.sender.run(
                *("ip", "link", "add", CABLE, "address", _MACS[SENDER_HOST], "gso_max_segs", "1", "type", "veth"),
                *("peer", "name", CABLE, "address", _MACS[RECEIVER_HOST], "netns", str(self.receiver.pid)),
            )
            for host in (self.sender, self.receiver):
                host.run("ip", "address", "add", f"{host.address}/24", "dev", CABLE)
                host.cable(up=True)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        """The network itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets both hosts go."""
        self._stack.close()

    def dropped_by_cable(self) -> int:
        """Datagrams the cable itself dropped: the cause, should a count ever not fit."""
        return self.sender.dropped_by_cable() + self.receiver.dropped_by_cable()
