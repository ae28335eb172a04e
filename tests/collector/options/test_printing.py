"""What --print-config prints: every option with its meaning, unit and default, as a file that can be read again."""

import tomllib
from dataclasses import fields

from atmost.collector.options import CollectorOptions, load_options, print_config


def test_every_option_is_there_with_meaning_default_and_variable():
    """The one list of options is the dataclass."""
    text = print_config(CollectorOptions())
    for each in fields(CollectorOptions):
        assert f"\n#{each.name} = " in text
        assert f"ATMOST_COLLECT_{each.name.upper()}" in text
    assert "seconds; 0.001 to 60" in text
    assert tomllib.loads(text) == {}


def test_what_is_printed_is_the_configuration(tmp_path):
    """Reading it gives the same options."""
    options = CollectorOptions(max_series=7, statsd=("off",), http="[::1]:1", grace=2.5, log_format="json")
    path = tmp_path / "again.toml"
    path.write_text(print_config(options), encoding="utf-8")
    assert load_options(str(path)) == options


def test_a_token_is_not_shown():
    """The output ends up in tickets."""
    assert "secretsecretsecret" not in print_config(CollectorOptions(token="secretsecretsecret"))


def test_the_bound_of_memory_follows_the_limits():
    """Fewer series, less memory; it stands at the end."""
    small = CollectorOptions(
        max_series=10, max_statsd_series=10, max_histograms=1, max_log_bytes=65_536, max_queue=1000
    )
    assert small.memory_bound() < CollectorOptions().memory_bound() / 2
    assert f"at most about {small.memory_bound() / 2**20:,.0f} MiB" in print_config(small)
