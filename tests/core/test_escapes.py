"""What may reach a terminal."""

from atmost.core.names import HARMFUL, harmless, legible


def test_what_is_no_text_becomes_a_question_mark():
    """A byte each, as the system hands over names that are not UTF-8; all else stays, what would steer a terminal too."""
    assert legible("caf\udce9 größe 😀 \x1b\udcff") == "caf? größe 😀 \x1b?"


def test_nothing_that_steers_a_terminal_is_left():
    """Control characters, line separators and direction overrides become escapes; all else stays."""
    for code in [
        *range(0x20),
        *range(0x7F, 0xA0),
        0x061C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    ]:
        shown = harmless(f"a{chr(code)}b")
        assert not HARMFUL.search(shown)
        assert shown.encode().decode("unicode_escape") == f"a{chr(code)}b"
    assert harmless("größe 日本 😀 \\") == "größe 日本 😀 \\"
