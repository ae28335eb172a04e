"""The blocks of docs/frameworks.md, run as they are printed against the real programs."""

import re
import shlex
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import atmost
from atmost.ingest.statsd import parse
from tests.real import BOUND, environment, until
from tests.services import SCRIPTS, fetch, free_port, observing, serving, settles

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"```sh\n(.*?)\n```", PAGE)
WEB = {
    "wsgi_app.py": ("/anything", "taken", "/orders"),
    "flask_app.py": ("/orders/7", "order 7", "/orders/<int:number>"),
    "django_app.py": ("/orders/7", "order 7", "/orders/<int:number>"),
    "asgi_app.py": ("/orders/7", "order 7", "/orders/{number}"),
}


def command(name):
    """The command printed for a file, of this environment."""
    stem = name.removesuffix(".py")
    printed = next(line for line in COMMANDS if re.search(rf"\b{stem}\b", line) and "statsd" not in line)
    program, *arguments = shlex.split(printed)
    return [SCRIPTS / program, *arguments]


def written(cwd):
    """Has every file of the page."""
    for name, text in FILES.items():
        (cwd / name).write_text(text)


def on(program, port):
    """How each server is told its port."""
    if program.name == "uvicorn":
        return ["--port", port, "--log-level", "warning"]
    return ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WEB)
def test_web(name, tmp_path):
    """Twenty requests are twenty, under the route's template; each answer says its identity."""
    path, answer, route = WEB[name]
    written(tmp_path)
    port = free_port()
    program, *arguments = command(name)
    with observing() as observer:
        with serving(program, *arguments, *on(program, port), cwd=tmp_path, port=port, ATMOST_URL=observer.url):
            for number in range(20):
                given = {"X-Request-ID": f"mine-{number}"}
                assert fetch(port, path, **given) == (200, f"mine-{number}", answer)
        settles(observer.routes, {("GET", route, "200"): 20})
        settles(lambda: observer.total("http_request_duration_seconds"), 20)
        settles(observer.is_quiet, wanted=True)


@pytest.mark.slow
@pytest.mark.needs("uwsgi")
def test_uwsgi(tmp_path):
    """The command of the page, told where Debian's uWSGI finds Python and this environment."""
    written(tmp_path)
    program, *arguments = shlex.split(next(line for line in COMMANDS if line.startswith("uwsgi")))
    port = free_port()
    arguments = [part.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for part in arguments]
    for path in (sysconfig.get_path("purelib"), Path(atmost.__file__).parents[1]):
        arguments += ["--pythonpath", path]
    plugin = ["--plugin", "python3"]
    with (
        observing() as observer,
        serving(program, *plugin, *arguments, cwd=tmp_path, port=port, ATMOST_URL=observer.url),
    ):
        until(lambda: (tmp_path / "output").read_text().count("spawned uWSGI worker") == 3)
        for _ in range(20):
            assert fetch(port, "/anything")[0] == 200
        settles(observer.routes, {("GET", "/orders", "200"): 20})  # between requests, because threads are enabled


@pytest.mark.slow
def test_gunicorn_speaks_statsd(tmp_path):
    """What it sends is taken in whole: no line is refused, and requests are counted."""
    written(tmp_path)
    program, *arguments = shlex.split(next(line for line in COMMANDS if "--statsd-host" in line))
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(BOUND)
        arguments = [part.replace("127.0.0.1:8125", f"127.0.0.1:{sock.getsockname()[1]}") for part in arguments]
        bind = ["--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        with serving(SCRIPTS / program, *arguments, *bind, cwd=tmp_path, port=port, ATMOST_URL="memory://nobody"):
            for _ in range(5):
                assert fetch(port, "/orders")[0] == 200
            counted = []
            while counted.count("shop.gunicorn.requests") < 5:
                told = parse(sock.recv(65_536))
                assert not told.rejected
                counted += [metric.name for metric in told.metrics]
    assert "shop.gunicorn.request.duration" in counted


@pytest.mark.slow
@pytest.mark.needs("redis-server")
def test_celery_and_rq(tmp_path):
    """Workers of the page's files count and beat; an RQ worker of the page's class runs jobs."""
    written(tmp_path)
    (tmp_path / "jobs.py").write_text(
        "import atmost\ndone = atmost.Metrics().counter('jobs_total')\ndef work(): done.inc()\n"
    )
    port, changes = free_port(), {}
    where = tmp_path / "redis"
    where.mkdir()
    with (
        observing() as observer,
        serving("redis-server", "--port", port, "--save", "", "--bind", "127.0.0.1", cwd=where, port=port),
    ):
        changes |= {"BROKER": f"redis://127.0.0.1:{port}/1", "ATMOST_URL": observer.url, "PYTHONWARNINGS": "ignore"}
        given = environment(**changes)
        with serving(*command("celery_app.py"), "--loglevel", "warning", cwd=tmp_path, **changes):
            code = "import celery_app\nfor n in range(12): celery_app.work.delay(n)"
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=given, check=True, timeout=BOUND)
            settles(lambda: observer.total("celery_tasks_total", state="SUCCESS"), 12, patience=3 * BOUND)
            until(lambda: any(subject.startswith("heartbeats.") for subject in observer.subjects))
        code = f"import redis, rq, jobs\nq = rq.Queue(connection=redis.Redis(port={port}))\nfor n in range(5): q.enqueue(jobs.work)"
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=given, check=True, timeout=BOUND)
        worker = [*command("rq_worker.py"), "--url", f"redis://127.0.0.1:{port}", "--burst", "--path", "."]
        done = subprocess.run(
            worker, cwd=tmp_path, env=given, capture_output=True, text=True, check=False, timeout=3 * BOUND
        )
        assert done.returncode == 0, done.stderr
        settles(lambda: observer.total("jobs_total"), 5)
        settles(observer.is_quiet, wanted=True)


def test_tests(tmp_path):
    """With the plugin, as pytest finds it where atmost is installed."""
    written(tmp_path)
    program, *arguments = command("test_shop.py")
    given = environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    plugin = ["-q", "-p", "no:cacheprovider", "-p", "atmost.testing.plugin"]
    done = subprocess.run(
        [program, *plugin, *arguments], cwd=tmp_path, env=given, capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


DJANGO_ASYNC = """
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

async def order(request, number):
    if number == 500:
        raise ValueError
    return HttpResponse(f"order {number}")

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["atmost.integrations.django.RequestMiddleware"],
)
urlpatterns = [path("orders/<int:number>", order)]
app = get_asgi_application()
"""


@pytest.mark.slow
def test_django_under_asgi(tmp_path):
    """An async view, one that raises and none: the same counts and identities as under WSGI."""
    (tmp_path / "django_async.py").write_text(DJANGO_ASYNC)
    port = free_port()
    arguments = ["--port", port, "--log-level", "critical", "django_async:app"]
    with (
        observing() as observer,
        serving(SCRIPTS / "uvicorn", *arguments, cwd=tmp_path, port=port, ATMOST_URL=observer.url),
    ):
        for number in range(10):
            given = {"X-Request-ID": f"mine-{number}"}
            assert fetch(port, "/orders/7", **given) == (200, f"mine-{number}", "order 7")
        assert fetch(port, "/orders/500")[0] == 500
        assert fetch(port, "/elsewhere")[0] == 404
        route = "/orders/<int:number>"
        wanted = {("GET", route, "200"): 10, ("GET", route, "500"): 1, ("GET", "(unmatched)", "404"): 1}
        settles(observer.routes, wanted)
