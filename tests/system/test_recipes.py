"""What docs/processes.md prints for processes that end past Python's exit functions, run as it is printed."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import BOUND, environment, until
from tests.services import SCRIPTS, fetch, free_port, observing, serving, settles

PAGE = (Path(__file__).parents[2] / "docs" / "processes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PROGRAM = """
import contextlib, asyncio, logging, multiprocessing, os, time
import atmost

metrics = atmost.Metrics(interval=60)
done = metrics.counter("jobs_total")
logging.getLogger().addHandler(atmost.LogHandler())
jobs = range(40)

def work(number):
    done.inc()
    logging.warning("job %d", number)
    return number
"""


def block(*words):
    """The one block of the page that has all these words."""
    (found,) = [each for each in BLOCKS if all(word in each for word in words)]
    return found


def all_arrived(observer, count):
    """Whether so many jobs were counted and logged, and every session has said goodbye."""
    settles(lambda: (observer.total("jobs_total"), len(observer.records)), (count, count))
    settles(observer.is_quiet, wanted=True)


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_a_pool(how, tmp_path):
    """Forty jobs are forty, whether the pool's workers are closed or terminated in order."""
    words = ["pool.close()"] if how == "close" else ["initializer="]
    (tmp_path / "app.py").write_text(
        f"{PROGRAM}\n{block('multiprocessing.Pool(', *words)}\nassert results == [*jobs]\n"
    )
    with observing() as observer:
        given = environment(ATMOST_URL=observer.url)
        subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=given, check=True, timeout=2 * BOUND)
        all_arrived(observer, 40)


def test_a_process_that_ends_by_os_exit(tmp_path):
    """It has said everything before."""
    (tmp_path / "app.py").write_text(f"{PROGRAM}\nfor number in jobs: work(number)\n{block('os._exit(0)')}")
    with observing() as observer:
        given = environment(ATMOST_URL=observer.url)
        subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=given, check=True, timeout=2 * BOUND)
        all_arrived(observer, 40)


def test_a_program_that_a_signal_ends(tmp_path):
    """Two lines make SIGTERM an ordinary exit: the last interval arrives, and the heartbeat is stopped, not down."""
    waits = "atmost.Heartbeat(None, 'app', interval=0.1).start()\nprint('ready', flush=True)\nwhile True: time.sleep(1)"
    text = f"{PROGRAM}\n{block('signal.SIGTERM', 'import signal, sys')}\nfor number in jobs: work(number)\n{waits}"
    (tmp_path / "app.py").write_text(text)
    with observing() as observer:
        with serving(sys.executable, "app.py", cwd=tmp_path, ATMOST_URL=observer.url) as process:
            until(lambda: "ready" in (tmp_path / "output").read_text())
        assert process.returncode == 0
        all_arrived(observer, 40)


def test_uvicorn_that_raises_its_signal_again(tmp_path):
    """The lifespan of the page closes everything before; the server then ends by the signal."""
    text = f"""{PROGRAM}
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def job(request):
    work(request.path_params["number"])
    return PlainTextResponse("done")

{block("async def lifespan")}
app = Starlette(routes=[Route("/{{number:int}}", job)], lifespan=lifespan)
"""
    (tmp_path / "app.py").write_text(text)
    port = free_port()
    command = [SCRIPTS / "uvicorn", "--port", port, "--log-level", "warning", "app:app"]
    with observing() as observer:
        with serving(*command, cwd=tmp_path, port=port, ATMOST_URL=observer.url) as process:
            for number in range(20):
                assert fetch(port, f"/{number}")[0] == 200
        assert process.returncode == -signal.SIGTERM
        all_arrived(observer, 20)
