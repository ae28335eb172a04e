"""Every input that was ever reported is read as it was judged then; and the fuzzers, which begin with them, keep their promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atmost.ingest import statsd, syslog
from atmost.ingest.gelf import GelfReader
from tests.ingest.page import NOW, PEER, of_gelf, of_statsd, of_syslog
from tests.real import BOUND, environment

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
BECOMES = json.loads((CORPUS / "becomes.json").read_text(encoding="utf-8"))
SHORT = 200
"""Characters of a result that are compared; the longest stand for thousands of equal refusals."""


def read(kind: str, datagram: bytes) -> str:
    """What a datagram becomes, as docs/ingest.md writes it."""
    if kind == "statsd":
        found = of_statsd(statsd.parse(datagram))
    elif kind == "syslog":
        found = [of_syslog(each) for each in syslog.parse_all(datagram, PEER, NOW)]
    else:
        reader = GelfReader()
        found = [of_gelf(each) for each in [*reader.feed(datagram, PEER, NOW), *reader.close(NOW)]]
    return "; ".join(found)[:SHORT]


def test_the_corpus_is_judged_as_a_whole():
    """No file without its result, and none the other way."""
    assert sorted(BECOMES) == sorted(str(path.relative_to(CORPUS)) for path in CORPUS.glob("*/*"))


@pytest.mark.parametrize("name", sorted(BECOMES))
def test_an_input_that_was_reported(name):
    """It becomes what it was judged to be."""
    assert read(name.partition("/")[0], (CORPUS / name).read_bytes()) == BECOMES[name]


@pytest.mark.slow
@pytest.mark.parametrize("parser", ["statsd", "syslog", "gelf"])
def test_fuzzing(parser, tmp_path):
    """With coverage guidance, for 20,000 executions; docs/ingest.md says how to run it for longer."""
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, "-m", "tests.ingest.fuzz", parser, "--runs", "20000", "--found", str(tmp_path)],
        cwd=ROOT,
        env=environment(PYTHONPATH=f"{ROOT / 'src'}:{ROOT}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=20 * BOUND,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.iterdir())
