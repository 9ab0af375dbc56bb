"""taskiq: worker and client. What its settings are and why:

- There is no call that submits many: `batch` calls of kiq run at a time; 20 used less CPU time than 100.
- Broker: streams for W1 and W3, which read 100 tasks at a time and acknowledge each; a list, which gives one at a time
  and acknowledges none, was slower. For W2 the list, which answered sooner.
- Two worker processes where there is enough to do for them, one for W2; max_async_tasks of 100 and of 500 did not
  differ, W3 has 256 calls in flight.
- orjson, uvloop, hiredis, and --no-parse, because the tasks' arguments need no checking.
- Results: MGETs for W1 and W3, because wait_result reads one at a time; wait_result every millisecond for W2.
"""

import asyncio
import importlib.metadata
import os
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).parent))
import aiohttp
import uvloop
from redis.asyncio import Redis
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
from taskiq import TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

EXECUTIONS = Executions()
SERIALIZER = ORJSONSerializer()
BROKERS = {"list": ListQueueBroker, "stream": RedisStreamBroker}
BROKER = BROKERS[SETTINGS.get("broker", "stream")]
broker = (
    BROKER(REDIS_URL, **SETTINGS.get("broker_options", {}))
    .with_result_backend(RedisAsyncResultBackend(REDIS_URL, serializer=SERIALIZER))
    .with_serializer(SERIALIZER)
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_http(state: TaskiqState):
    state.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_http(state: TaskiqState):
    await state.http.close()


@broker.task(task_name="nothing")
async def nothing(text):
    return EXECUTIONS.ran(text)


@broker.task(task_name="call")
async def call(text):
    async with broker.state.http.post(UPSTREAM_URL, json=request_body(text)) as response:
        response.raise_for_status()
        await response.read()
    return EXECUTIONS.ran(text)


def work():
    command = pathlib.Path(sys.executable).parent / "taskiq"
    options = ["--workers", SETTINGS["workers"], "--max-async-tasks", SETTINGS["max_async_tasks"]]
    options += ["--max-prefetch", SETTINGS["max_prefetch"], "--log-level", "WARNING", "--no-parse"]
    options += ["--ack-type", SETTINGS["ack_type"]]
    arguments = [command, "worker", "--app-dir", pathlib.Path(__file__).parent, *options, "taskiq_peer:broker"]
    os.execv(command, [str(argument) for argument in arguments])


async def one_by_one(count, first):
    taken, known = [], 0
    for number in range(first, first + count):
        started = time.perf_counter()
        task = await nothing.kiq(payload(number))
        result = await task.wait_result(check_interval=SETTINGS["check_interval"], timeout=60)
        known += result.return_value == f"{number:08}"
        taken.append(time.perf_counter() - started)
    report_latencies(taken, known)


async def in_bulk(function, count, first):
    waiting, redis = Waiting(count), Redis.from_url(REDIS_URL)

    async def submit():
        for numbers in batches(count, first, SETTINGS["batch"]):
            tasks = await asyncio.gather(*(function.kiq(payload(number)) for number in numbers))
            for task, number in zip(tasks, numbers):
                waiting.submitted(task.task_id, number)

    submitting = asyncio.create_task(submit())
    while not waiting.over():
        asked = waiting.asked()
        values = await redis.mget([key for key, _ in asked]) if asked else []
        if not waiting.told(asked, values, lambda value: SERIALIZER.loadb(value)["return_value"]):
            await asyncio.sleep(PAUSE_S)
    await submitting
    waiting.report()
    await redis.aclose()


async def client(workload, count, first):
    await broker.startup()
    if workload == "w2":
        await one_by_one(count, first)
    else:
        await in_bulk(call if workload == "w3" else nothing, count, first)
    await broker.shutdown()


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("taskiq", "taskiq-redis")))
    elif sys.argv[1] == "worker":
        work()
    else:
        uvloop.install()
        asyncio.run(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
