"""Celery: worker and client. What its settings are and why:

- There is no call that submits many: one producer with one connection sends them one by one.
- Pool: two workers with a thread each for W1. `solo`, in which tasks run where messages are read, came near and
  answered sooner, so W2 has one of them. `prefork`, its default, did far fewer, `gevent` the fewest. For W3, two
  workers with 128 threads each, which used less CPU time than `gevent`.
- prefetch_multiplier: 4, 64 and 500 did not differ by more than the noise.
- No events, gossip, mingling, heartbeats or rate limits: a worker then does nothing but tasks.
- Results: MGETs for W1 and W3, because a channel to subscribe to and leave for each task costs more; its own `get`,
  which is told by such a channel, for W2.
"""

import os
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).parent))
import celery
import urllib3
from shared import (
    PAUSE_S,
    REDIS_URL,
    SETTINGS,
    UPSTREAM_URL,
    Executions,
    Waiting,
    batches,
    payload,
    report_latencies,
    request_body,
)

EXECUTIONS = Executions()
HTTP = urllib3.PoolManager(maxsize=256, retries=False)
app = celery.Celery("celery_peer", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_default_queue="bench",
    worker_prefetch_multiplier=SETTINGS.get("prefetch_multiplier", 4),
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    worker_redirect_stdouts=False,
    task_acks_late=SETTINGS.get("acks_late", False),
    broker_connection_retry_on_startup=True,
)
# Submits only. With results of its own it would subscribe to a channel for each task.
sender = celery.Celery("sender", broker=REDIS_URL, set_as_current=False)
sender.conf.update(task_default_queue="bench")


@app.task(name="nothing")
def nothing(text):
    return EXECUTIONS.ran(text)


@app.task(name="call")
def call(text):
    response = HTTP.request("POST", UPSTREAM_URL, json=request_body(text))
    if response.status != 200:
        raise RuntimeError(f"the upstream answered {response.status}")
    return EXECUTIONS.ran(text)


def work():
    command = pathlib.Path(sys.executable).parent / "celery"
    options = ["--pool", SETTINGS["pool"], "--concurrency", SETTINGS["concurrency"], "--loglevel", "ERROR"]
    options += ["--hostname", f"worker-{os.getpid()}", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    arguments = [command, "--workdir", pathlib.Path(__file__).parent, "--app", "celery_peer", "worker", *options]
    os.execv(command, [str(argument) for argument in arguments])


def one_by_one(count, first):
    taken, known = [], 0
    for number in range(first, first + count):
        started = time.perf_counter()
        known += nothing.delay(payload(number)).get(timeout=60) == f"{number:08}"
        taken.append(time.perf_counter() - started)
    report_latencies(taken, known)


def in_bulk(function, count, first):
    waiting, backend = Waiting(count), app.backend

    def read():
        asked = waiting.asked()
        values = backend.mget([backend.get_key_for_task(key) for key, _ in asked]) if asked else []
        return waiting.told(asked, values, lambda value: backend.decode_result(value)["result"])

    with sender.producer_pool.acquire(block=True) as producer:
        for numbers in batches(count, first, SETTINGS["batch"]):
            for number in numbers:
                sent = sender.send_task(function, (payload(number),), producer=producer, argsrepr="")
                waiting.submitted(sent.id, number)
            read()
    while not waiting.over():
        if not read():
            time.sleep(PAUSE_S)
    waiting.report()


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print(f"celery {celery.__version__}")
    elif sys.argv[1] == "worker":
        work()
    elif sys.argv[2] == "w2":
        one_by_one(int(sys.argv[3]), int(sys.argv[4]))
    else:
        in_bulk("call" if sys.argv[2] == "w3" else "nothing", int(sys.argv[3]), int(sys.argv[4]))
