"""arq: worker and client. What its settings are and why:

- There is no call that submits many: `batch` enqueue_job calls run at a time; 20, 100 and 300 made no difference.
- One worker process: two try to take the same jobs, and used more CPU time without being faster.
- max_jobs, queue_read_limit: 500 and 1,000 were faster than 100 and 500 for W1; W3 has 256 calls in flight.
- poll_delay: how often a worker looks for jobs, 10 ms instead of the default's 500 (1 and 2 ms were tried and used more
  CPU time); where latency counts, 1 ms, because half of that tripled the CPU time.
- msgpack instead of pickle and log_results off, which its documentation offers; uvloop and hiredis.
- Results: MGETs for W1 and W3, because Job.result reads one at a time; Job.result with a poll_delay of 1 ms for W2.
"""

import asyncio
import importlib.metadata
import pathlib
import sys
import time

sys.path.append(str(pathlib.Path(__file__).parent))
import aiohttp
import arq
import arq.jobs
import msgpack
import uvloop
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
REDIS = arq.connections.RedisSettings.from_dsn(REDIS_URL)


def unpack(value):
    return msgpack.unpackb(value, raw=False)


async def nothing(ctx, text):
    return EXECUTIONS.ran(text)


async def call(ctx, text):
    async with ctx["http"].post(UPSTREAM_URL, json=request_body(text)) as response:
        response.raise_for_status()
        await response.read()
    return EXECUTIONS.ran(text)


async def open_http(ctx):
    ctx["http"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def close_http(ctx):
    await ctx["http"].close()


def work():
    arq.Worker(
        [nothing, call],
        redis_settings=REDIS,
        on_startup=open_http,
        on_shutdown=close_http,
        max_jobs=SETTINGS["max_jobs"],
        poll_delay=SETTINGS["poll_delay"],
        queue_read_limit=SETTINGS["queue_read_limit"],
        job_serializer=msgpack.packb,
        job_deserializer=unpack,
        log_results=False,
    ).run()


async def one_by_one(pool, count, first):
    taken, known = [], 0
    for number in range(first, first + count):
        started = time.perf_counter()
        job = await pool.enqueue_job("nothing", payload(number))
        known += await job.result(timeout=60, poll_delay=SETTINGS["result_poll_delay"]) == f"{number:08}"
        taken.append(time.perf_counter() - started)
    report_latencies(taken, known)


async def in_bulk(pool, function, count, first):
    waiting = Waiting(count)

    async def submit():
        for numbers in batches(count, first, SETTINGS["batch"]):
            jobs = await asyncio.gather(*(pool.enqueue_job(function, payload(number)) for number in numbers))
            for job, number in zip(jobs, numbers):
                waiting.submitted(arq.constants.result_key_prefix + job.job_id, number)

    submitting = asyncio.create_task(submit())
    while not waiting.over():
        asked = waiting.asked()
        values = await pool.mget([key for key, _ in asked]) if asked else []
        if not waiting.told(asked, values, lambda value: unpack(value)["r"]):
            await asyncio.sleep(PAUSE_S)
    await submitting
    waiting.report()


async def client(workload, count, first):
    pool = await arq.create_pool(REDIS, job_serializer=msgpack.packb, job_deserializer=unpack)
    if workload == "w2":
        await one_by_one(pool, count, first)
    else:
        await in_bulk(pool, "call" if workload == "w3" else "nothing", count, first)
    await pool.aclose()


if __name__ == "__main__":
    uvloop.install()
    if sys.argv[1] == "version":
        print(f"arq {importlib.metadata.version('arq')}")
    elif sys.argv[1] == "worker":
        work()
    else:
        asyncio.run(client(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
