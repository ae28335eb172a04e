"""The task queues of Python services, for real: every task is counted once, however the pool's processes end."""

import subprocess

import pytest

from tests.real import BOUND, environment, until
from tests.services import SCRIPTS, free_port, observing, serving, settles

TASKS = """
import sys
import atmost
from celery import Celery

app = Celery("tasks", broker=sys.modules["os"].environ["BROKER"])
app.conf.update(broker_connection_retry_on_startup=True, worker_enable_remote_control=False)
metrics = atmost.Metrics()
done = metrics.counter("jobs_done_total", "Jobs done.")

@app.task(name="work")
def work(number):
    done.inc()

@app.task(name="shaky", bind=True, max_retries=3)
def shaky(self, number):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    done.inc()

@app.task(name="fail")
def fail(number):
    raise ValueError("on purpose")
"""
MEASURED = """
import atmost.integrations.celery
atmost.integrations.celery.measure(metrics, interval=0.2)
"""
POOLS = {
    "prefork": ["--pool", "prefork", "--concurrency", "4", "--max-tasks-per-child", "5"],
    "threads": ["--pool", "threads", "--concurrency", "4"],
    "gevent": ["--pool", "gevent", "--concurrency", "10"],
    "solo": ["--pool", "solo"],
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The URL of a Redis of this module's own."""
    port = free_port()
    where = tmp_path_factory.mktemp("redis")
    with serving("redis-server", "--port", port, "--save", "", "--bind", "127.0.0.1", cwd=where, port=port):
        yield f"redis://127.0.0.1:{port}"


def send(cwd, code, **changes):
    """Runs the program that gives the tasks."""
    given = environment(**changes) | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([SCRIPTS / "python", "-c", code], cwd=cwd, env=given, check=True, timeout=2 * BOUND)


@pytest.mark.slow
@pytest.mark.needs("redis-server")
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("measured", [True, False], ids=["measured", "plain"])
def test_celery(redis, pool, measured, tmp_path):
    """200 tasks are 200, with processes that end after five tasks each; retries and failures are told apart; the worker beats."""
    broker = f"{redis}/{list(POOLS).index(pool) * 2 + measured}"
    (tmp_path / "tasks.py").write_text(TASKS + MEASURED * measured)
    with observing() as observer:
        changes = {"BROKER": broker, "ATMOST_URL": observer.url}
        arguments = [
            "--app",
            "tasks",
            "worker",
            "--loglevel",
            "warning",
            "--without-mingle",
            "--without-gossip",
            *POOLS[pool],
        ]
        with serving(SCRIPTS / "celery", *arguments, cwd=tmp_path, **changes):
            code = "import tasks\nfor n in range(180): tasks.work.delay(n)\nfor n in range(20): tasks.shaky.delay(n); tasks.fail.delay(n)"
            send(tmp_path, code, **(changes | {"ATMOST_URL": "memory://nobody"}))
            settles(
                lambda: observer.total("jobs_done_total"), 200, patience=4 * BOUND
            )  # a pool renews its processes slowly
            if measured:
                settles(lambda: observer.total("celery_tasks_total", state="SUCCESS"), 200)
                until(lambda: any(subject.startswith("heartbeats.") for subject in observer.subjects))
        settles(lambda: observer.total("jobs_done_total"), 200)
        if measured:
            found = {
                (task, state): observer.total("celery_tasks_total", task=task, state=state)
                for task, state in [("work", "SUCCESS"), ("shaky", "RETRY"), ("shaky", "SUCCESS"), ("fail", "FAILURE")]
            }
            assert set(found.values()) == {180, 20}
            assert found["work", "SUCCESS"] == 180
            assert observer.total("celery_task_duration_seconds") == 240
        settles(observer.is_quiet, wanted=True)


RQ = """
import os
import atmost
from redis import Redis
from rq import Queue

connection = Redis.from_url(os.environ["BROKER"])
queue = Queue(connection=connection)
metrics = atmost.Metrics()
done = metrics.counter("jobs_done_total", "Jobs done.")

def work(number):
    done.inc()
"""
RQ_WORKER = """
import atmost
from rq import Worker

class AtmostWorker(Worker):
    def perform_job(self, *args, **kwargs):                 # in a forked process for each job, which ends by os._exit
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            atmost.close_all(timeout=0.1)
"""


@pytest.mark.slow
@pytest.mark.needs("redis-server")
def test_rq(redis, tmp_path):
    """The recipe of the page: each job's process says its last words."""
    (tmp_path / "jobs.py").write_text(RQ)
    (tmp_path / "worker.py").write_text(RQ_WORKER)
    with observing() as observer:
        changes = {"BROKER": f"{redis}/9", "ATMOST_URL": observer.url}
        send(tmp_path, "import jobs\nfor n in range(30): jobs.queue.enqueue(jobs.work, n)", **changes)
        worker = ["worker", "--url", f"{redis}/9", "--worker-class", "worker.AtmostWorker", "--burst", "--path", "."]
        done = subprocess.run(
            [SCRIPTS / "rq", *worker],
            cwd=tmp_path,
            env=environment(**changes) | {"PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * BOUND,
        )
        assert done.returncode == 0, done.stderr
        settles(lambda: observer.total("jobs_done_total"), 30)
        settles(observer.is_quiet, wanted=True)


DRAMATIQ = """
import os
import atmost
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))
metrics = atmost.Metrics()
done = metrics.counter("jobs_done_total", "Jobs done.")

@dramatiq.actor
def work(number):
    done.inc()
"""


@pytest.mark.slow
@pytest.mark.needs("redis-server")
def test_dramatiq(redis, tmp_path):
    """Its processes need nothing: they end as Python programs do."""
    (tmp_path / "jobs.py").write_text(DRAMATIQ)
    with observing() as observer:
        changes = {"BROKER": f"{redis}/10", "ATMOST_URL": observer.url}
        with serving(SCRIPTS / "dramatiq", "jobs", "--processes", "2", "--threads", "2", cwd=tmp_path, **changes):
            send(tmp_path, "import jobs\nfor n in range(100): jobs.work.send(n)", **changes)
            settles(lambda: observer.total("jobs_done_total"), 100)
        settles(lambda: observer.total("jobs_done_total"), 100)
        settles(observer.is_quiet, wanted=True)
