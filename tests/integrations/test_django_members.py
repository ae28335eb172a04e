"""Who shares a Django cache, and who is told."""

from atmost.integrations.django_members import others_of


def test_who_is_sent_to():
    """All but oneself; of a multicast group's port too, for on another host another process receives on it."""
    plain = ("udp://127.0.0.1:7150", "udp://127.0.0.1:7151", "unix:///run/a.sock", "memory://a")
    for own in plain:
        assert set(others_of(plain, own)) == set(plain) - {own}
    groups = ("udp://239.1.2.3:7150", "udp://[ff02::1%lo]:7151", "udp://239.1.2.3:7152?interface=lo")
    for own in groups:
        assert others_of(groups, own) == groups
    assert others_of(plain[:1], plain[0]) == plain[:1]
