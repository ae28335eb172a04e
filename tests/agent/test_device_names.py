import re

from hypothesis import given
from hypothesis import strategies as st

from atmost.agent import readings


@given(st.lists(st.text(), unique=True, max_size=8))
def test_tokens_fit_a_subject_and_differ(names):
    """Whatever a device is called, its token has lower-case letters, digits, `_` and `-` only, and is its own."""
    tokens = readings.tokens(names)
    assert len(set(tokens)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,55}", token) for token in tokens)


def test_tokens_keep_what_can_be_kept():
    """Names stay recognisable; the later of two that come out the same gets a number."""
    assert readings.tokens(["eth0.100", "Wi-Fi 2", "wi-fi/2", "br-lan", "éé", "x" * 100]) == [
        "eth0_100",
        "wi-fi_2",
        "wi-fi_2-2",
        "br-lan",
        "unnamed",
        "x" * 48,
    ]


def test_mounts_are_called_after_their_path():
    """The file system's root is `root`; a drive is its letter."""
    assert [readings.mount_name(path) for path in ("/", "/var/log", "C:\\")] == ["root", "var/log", "C"]


def test_loopback_and_one_per_container_interfaces_have_no_readings():
    """Loopback is not the network, and interfaces with random names would make series without end."""
    assert readings.worth_showing(["lo", "lo0", "Loopback Pseudo-Interface 1", "veth12ab", "cali0f", "eth0"]) == [
        "eth0"
    ]
    assert readings.worth_showing(["vEthernet (LAN)", "long0"]) == ["long0", "vEthernet (LAN)"]


def test_interfaces_that_carry_come_first_and_alone_make_the_total():
    """What passes a bridge, bond, tunnel or VLAN passes the interface beneath as well, and is counted there."""
    names = ["wg0", "br-12", "enp3s0", "eth0.100", "docker0", "bond0", "eth0", "wlan0"]
    assert readings.worth_showing(names)[:3] == ["enp3s0", "eth0", "wlan0"]
    assert readings.carrying(names) == ["enp3s0", "eth0", "wlan0"]
    assert readings.carrying(["lo", "tun0"]) == ["tun0"]
    assert readings.carrying(["lo"]) == []


def test_partitions_and_stacked_devices_are_no_disks():
    """A byte written to an encrypted volume on a partition is one byte written to one disk."""
    names = ["sda", "sda1", "sda10", "sdb1", "nvme0n1", "nvme0n1p2", "nvme0n10", "mmcblk0", "mmcblk0p1"]
    stacked = ["dm-0", "md127", "loop3", "zram0", "ram1", "sr0", "bcache0"]
    assert readings.whole_disks(names + stacked) == ["mmcblk0", "nvme0n1", "nvme0n10", "sda", "sdb1"]
    assert readings.whole_disks(["PhysicalDrive1", "PhysicalDrive10", "disk0"]) == [
        "PhysicalDrive1",
        "PhysicalDrive10",
        "disk0",
    ]
