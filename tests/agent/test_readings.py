import math
import os
import re
from typing import NamedTuple

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atmost.agent.readings import HostReadings, ReadingOptions


class Times(NamedTuple):
    user: float = 0.0
    nice: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    guest: float = 0.0


class Memory(NamedTuple):
    total: int
    used: int
    available: int


class Partition(NamedTuple):
    device: str
    mountpoint: str
    fstype: str


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class DiskIO(NamedTuple):
    read_bytes: int
    write_bytes: int


class NetIO(NamedTuple):
    bytes_sent: int
    bytes_recv: int


class Host:
    """A host whose every counter the test sets; what is an exception is raised."""

    def __init__(self):
        self.total = Times()
        self.cores = []
        self.memory = Memory(1000, 300, 600)
        self.load = (0.5, 0.4, 0.3)
        self.partitions = [Partition("disk1", "/", "ext4")]
        self.usage = {"/": Usage(100, 30, 60)}
        self.disks = {}
        self.interfaces = {}

    def install(self, monkeypatch):
        def told(value):
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(psutil, "cpu_times", lambda percpu=False: told(self.cores if percpu else self.total))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: told(self.memory))
        monkeypatch.setattr(os, "getloadavg", lambda: told(self.load), raising=False)
        monkeypatch.setattr(psutil, "disk_partitions", lambda **_: told(self.partitions))
        monkeypatch.setattr(psutil, "disk_usage", lambda path: told(self.usage[path]))
        monkeypatch.setattr(psutil, "disk_io_counters", lambda perdisk, nowrap: told(self.disks))
        monkeypatch.setattr(psutil, "net_io_counters", lambda pernic, nowrap: told(self.interfaces))
        monkeypatch.setattr(os.path, "isdir", lambda path: "file" not in path)


@pytest.fixture
def host(monkeypatch):
    """A host in place of this one."""
    host = Host()
    host.install(monkeypatch)
    return host


def only(values, prefix):
    """Return the readings of one kind, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def test_this_host_tells_sound_values():
    """On whatever machine this runs: names are subjects, values finite and not negative, ratios from 0 to 1."""
    host = HostReadings(10.0)
    values = host.read(11.0)
    assert all(re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", name) for name in values)
    assert all(isinstance(value, float) and math.isfinite(value) and value >= 0 for value in values.values())
    assert all(value <= 1 for name, value in values.items() if name.endswith(".utilization"))
    assert values["memory.total_bytes"] >= values["memory.used_bytes"] > 0


def test_utilization_is_the_share_of_time_not_idle(host):
    """Waiting for disks is idle time, and the time of guests counts once."""
    host_readings = HostReadings(0.0)
    host.total = Times(user=6.0, system=1.0, idle=2.0, iowait=1.0, guest=4.0)
    assert host_readings.read(1.0)["cpu.utilization"] == pytest.approx(0.7)


def test_each_core_has_its_utilization_up_to_a_bound(host):
    """Cores are numbered; beyond the bound only the total tells of them."""
    host.cores = [Times(), Times(), Times()]
    host_readings = HostReadings(0.0, ReadingOptions(max_cores=2))
    host.cores = [Times(user=1, idle=3), Times(user=2, idle=2), Times(user=4)]
    assert only(host_readings.read(1.0), "cpu.") == {"0.utilization": 0.25, "1.utilization": 0.5}


def test_processor_times_that_step_back_tell_nothing(host):
    """A reset gives no utilisation, and the interval after it does; a small step back of one time is no reset."""
    host.total = Times(user=50.0, idle=50.0, iowait=1.0)
    host.cores = [host.total]
    host_readings = HostReadings(0.0)
    host.total = Times(user=1.0, idle=1.0)
    host.cores = [host.total]
    assert only(host_readings.read(1.0), "cpu.") == {}
    host.total = Times(user=2.0, idle=4.0)
    assert only(host_readings.read(2.0), "cpu.") == {"utilization": 0.25}
    host.total = Times(user=3.0, idle=4.9, iowait=-0.1)
    assert host_readings.read(3.0)["cpu.utilization"] == pytest.approx(1 / 1.9)


def test_cores_that_come_or_go_are_absent_once(host):
    """When their number changes, numbers no longer mean the same cores."""
    host.cores = [Times(), Times()]
    host_readings = HostReadings(0.0)
    host.cores = [Times(user=1.0)]
    assert only(host_readings.read(1.0), "cpu.") == {}
    host.cores = [Times(user=2.0)]
    assert only(host_readings.read(2.0), "cpu.") == {"0.utilization": 1.0}


def test_no_time_passed_tells_no_utilization(host):
    """Two reads within one tick of the kernel's clock do not divide by zero."""
    assert only(HostReadings(0.0).read(0.0), "cpu.") == {}


def test_memory_counts_what_is_not_available(host):
    """Caches can be had back, so they do not count as used up."""
    assert only(HostReadings(0.0).read(1.0), "memory.") == {
        "total_bytes": 1000.0,
        "used_bytes": 300.0,
        "available_bytes": 600.0,
        "utilization": 0.4,
    }


def test_load_has_its_three_averages(host):
    """Over one, five and fifteen minutes."""
    assert only(HostReadings(0.0).read(1.0), "load.") == {"1m": 0.5, "5m": 0.4, "15m": 0.3}


def test_load_is_absent_where_there_is_none(host, monkeypatch):
    """Windows keeps no load average: it is not a failure, and not 0."""
    monkeypatch.delattr(os, "getloadavg")
    host_readings = HostReadings(0.0)
    assert only(host_readings.read(1.0), "load.") == {}
    assert host_readings.failures == {}


def test_disk_utilization_is_that_of_users(host):
    """Blocks kept for root are neither used nor to be had."""
    assert only(HostReadings(0.0).read(1.0), "disk.") == {
        "root.total_bytes": 100.0,
        "root.used_bytes": 30.0,
        "root.utilization": pytest.approx(1 / 3),
    }


def test_each_file_system_is_told_once(host):
    """Bind mounts, mounted files, images that are always full and empty drives are left out; names stay apart."""
    host.partitions += [
        Partition("disk1", "/again", "ext4"),
        Partition("disk2", "/root", "xfs"),
        Partition("disk2", "/root/deeper", "xfs"),
        Partition("disk3", "/file", "ext4"),
        Partition("image", "/snap/x", "squashfs"),
        Partition("drive", "D:\\", ""),
    ]
    host.usage["/root"] = Usage(10, 5, 5)
    names = {name.split(".")[0] for name in only(HostReadings(0.0).read(1.0), "disk.")}
    assert names == {"root", "root-2"}


def test_the_root_of_a_container_is_told(host):
    """The root is read also where it is no partition, but an overlay."""
    host.partitions = []
    assert HostReadings(0.0).read(1.0)["disk.root.used_bytes"] == 30.0


def test_file_systems_are_bounded(host):
    """Beyond the bound, those with the shortest paths are told."""
    host.partitions += [Partition(f"disk{n}", f"/m{n:03}", "ext4") for n in range(2, 50)]
    host.usage |= {f"/m{n:03}": Usage(1, 1, 0) for n in range(2, 50)}
    values = HostReadings(0.0, ReadingOptions(max_mounts=3)).read(1.0)
    assert {name.split(".")[1] for name in values if name.startswith("disk.")} == {"root", "m002", "m003"}


def test_a_file_system_without_size_is_absent(host):
    """No blocks, no ratio; all blocks kept for root, no ratio either."""
    host.usage["/"] = Usage(0, 0, 0)
    host_readings = HostReadings(0.0)
    assert only(host_readings.read(1.0), "disk.") == {}
    host.usage["/"] = Usage(5, 0, 0)
    assert only(host_readings.read(2.0), "disk.") == {"root.total_bytes": 5.0, "root.used_bytes": 0.0}


def test_disk_rates_are_bytes_over_time(host):
    """Each disk has rates, and the total counts no byte twice."""
    host.disks = {"sda": DiskIO(100, 100), "sda1": DiskIO(100, 100), "dm-0": DiskIO(0, 0), "sdb": DiskIO(0, 0)}
    host_readings = HostReadings(10.0)
    host.disks = {"sda": DiskIO(300, 100), "sda1": DiskIO(300, 100), "dm-0": DiskIO(200, 0), "sdb": DiskIO(20, 4)}
    assert {name: value for name, value in host_readings.read(12.0).items() if name.endswith("_second")} == {
        "disk.sda.read_bytes_per_second": 100.0,
        "disk.sda.written_bytes_per_second": 0.0,
        "disk.sdb.read_bytes_per_second": 10.0,
        "disk.sdb.written_bytes_per_second": 2.0,
        "disk.read_bytes_per_second": 110.0,
        "disk.written_bytes_per_second": 2.0,
    }


def test_network_rates_leave_loopback_out(host):
    """Each interface has rates under a name that fits a subject; the total is that of the carrying ones."""
    host.interfaces = {"lo": NetIO(0, 0), "eth0": NetIO(10, 10), "eth0.5": NetIO(10, 10)}
    host_readings = HostReadings(0.0)
    host.interfaces = {"lo": NetIO(99, 99), "eth0": NetIO(14, 30), "eth0.5": NetIO(14, 10)}
    assert only(host_readings.read(2.0), "network.") == {
        "eth0.sent_bytes_per_second": 2.0,
        "eth0.received_bytes_per_second": 10.0,
        "eth0_5.sent_bytes_per_second": 2.0,
        "eth0_5.received_bytes_per_second": 0.0,
        "sent_bytes_per_second": 2.0,
        "received_bytes_per_second": 10.0,
    }


def test_interfaces_are_bounded_and_the_total_is_not(host):
    """Readings of single interfaces stop at the bound; the total covers all."""
    host.interfaces = {f"eth{n}": NetIO(0, 0) for n in range(100)}
    host_readings = HostReadings(0.0, ReadingOptions(max_interfaces=3))
    host.interfaces = {f"eth{n}": NetIO(1, 2) for n in range(100)}
    values = only(host_readings.read(1.0), "network.")
    assert len(values) == 3 * 2 + 2
    assert (values["sent_bytes_per_second"], values["received_bytes_per_second"]) == (100.0, 200.0)


def test_a_counter_that_steps_back_gives_no_rate(host):
    """After a reset or wrap the device and the total are absent once, never negative; then they are back."""
    host.interfaces = {"eth0": NetIO(2**32 - 1, 5), "eth1": NetIO(0, 0)}
    host_readings = HostReadings(0.0)
    host.interfaces = {"eth0": NetIO(10, 5), "eth1": NetIO(1, 1)}
    assert only(host_readings.read(1.0), "network.") == {
        "eth1.sent_bytes_per_second": 1.0,
        "eth1.received_bytes_per_second": 1.0,
    }
    host.interfaces = {"eth0": NetIO(12, 5), "eth1": NetIO(2, 2)}
    values = host_readings.read(2.0)
    assert values["network.eth0.sent_bytes_per_second"] == 2.0
    assert values["network.sent_bytes_per_second"] == 3.0


def test_devices_that_come_and_go_have_rates_while_they_are_there_twice(host):
    """A device seen for the first time has no rate yet, one that is gone none any more; the total covers the rest."""
    host.disks = {"sda": DiskIO(0, 0), "sdb": DiskIO(0, 0)}
    host_readings = HostReadings(0.0)
    host.disks = {"sda": DiskIO(3, 0), "sdc": DiskIO(9, 9)}
    values = {name: value for name, value in host_readings.read(1.0).items() if name.endswith("read_bytes_per_second")}
    assert values == {"disk.sda.read_bytes_per_second": 3.0, "disk.read_bytes_per_second": 3.0}


def test_no_rate_without_time(host):
    """At the same instant, or when time steps back, there is nothing to divide by; the next read has rates again."""
    host.disks = {"sda": DiskIO(0, 0)}
    host_readings = HostReadings(5.0)
    assert "disk.read_bytes_per_second" not in host_readings.read(5.0)
    assert "disk.read_bytes_per_second" not in host_readings.read(4.0)
    assert host_readings.read(5.0)["disk.read_bytes_per_second"] == 0.0


@pytest.mark.parametrize(
    "error",
    [
        psutil.AccessDenied(),
        OSError("gone"),
        NotImplementedError(),
        RuntimeError("no such file"),
        AttributeError(),
        KeyError(),
    ],
)
def test_what_a_platform_cannot_tell_is_absent_and_counted(host, error):
    """Whatever psutil raises: no exception, no zero, and a count by source; the other readings stay."""
    for name in ("total", "cores", "memory", "load", "partitions", "disks", "interfaces"):
        setattr(host, name, error)
    host.usage["/"] = error
    host_readings = HostReadings(0.0)
    assert host_readings.read(1.0) == {}
    assert {"cpu", "memory", "load", "disk_io", "disk_usage", "network"} <= host_readings.failures.keys()
    host.memory = Memory(10, 5, 5)
    assert host_readings.read(2.0)["memory.utilization"] == 0.5


def test_a_machine_without_disks_and_network_has_no_such_readings(host):
    """psutil says None or nothing where there is nothing: absent, not 0, and not a failure."""
    host.disks, host.interfaces, host.memory = None, {}, Memory(0, 0, 0)
    host_readings = HostReadings(0.0)
    values = host_readings.read(1.0)
    assert not [name for name in values if name.endswith("_second") or name.startswith("memory")]
    assert host_readings.failures == {}


@given(st.lists(st.tuples(st.floats(0.001, 10), st.integers(0, 2**40), st.integers(0, 2**40)), max_size=10))
def test_rates_are_never_negative(steps):
    """Whatever the counters do between reads, a rate is absent or not negative, and gives the difference back."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        host = Host()
        host.install(monkeypatch)
        host.interfaces = {"eth0": NetIO(0, 0)}
        now, host_readings = 0.0, HostReadings(0.0)
        for step, sent, received in steps:
            now += step
            before, host.interfaces = host.interfaces["eth0"], {"eth0": NetIO(sent, received)}
            rate = host_readings.read(now).get("network.eth0.sent_bytes_per_second")
            if sent >= before.bytes_sent and received >= before.bytes_recv:
                assert rate == pytest.approx((sent - before.bytes_sent) / step)
            else:
                assert rate is None


def test_psutil_keeps_no_memory_for_us(monkeypatch):
    """Counters are asked for raw: psutil's corrections and intervals are shared by everyone in the process."""
    asked = []
    monkeypatch.setattr(psutil, "net_io_counters", lambda **options: asked.append(options))
    HostReadings(0.0)
    assert asked == [{"pernic": True, "nowrap": False}]
