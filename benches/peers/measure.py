"""One workload of one peer: its own redis-server and workers, warmed up by one client and measured by a second."""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

from stage import LATENCY_MS, cpu_seconds, redis_server, started

TASKS = {"w1": 50_000, "w2": 2_000, "w3": 5_000}
WARM_UP = {"w1": 2_000, "w2": 50, "w3": 512}
# Numbers of the tasks that only warm up.
WARM_UP_FROM = 90_000_000
# Calls of W3 at a time, over all workers.
IN_FLIGHT = 256
CLIENT_LIMIT_S = 900


def measure(program, workload, settings, options, url, log):
    count = max(1, round(TASKS[workload] * options.scale))
    warm_up = max(1, round(WARM_UP[workload] * min(1, options.scale)))
    processes = settings.get("processes", 0)
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as executions:
        env = {**os.environ, "SETTINGS": json.dumps(settings), "UPSTREAM_URL": url, "EXECUTIONS": executions}
        with contextlib.ExitStack() as stack:
            if processes:
                env["REDIS_URL"] = stack.enter_context(redis_server(options.aof, log))
            command = [*program, "worker", workload]
            workers = [stack.enter_context(started(command, log, env)) for _ in range(processes)]
            client(program, workload, warm_up, WARM_UP_FROM, env, log)
            # A peer without workers does the work in its client.
            used = (lambda: cpu_seconds(workers)) if workers else (lambda: sum(os.times()[2:4]))
            before = used()
            seen = client(program, workload, count, 0, env, log)
            cpu = used() - before
        repeated = run_again(pathlib.Path(executions), seen["known"]) if processes else 0
    persistence = "aof everysec" if options.aof else "no persistence"
    return {
        "version": said(program, "version").decode().strip(),
        "workload": workload,
        "store": f"redis, {persistence}" if processes else "none",
        "settings": settings,
        "tasks": count,
        **figures(workload, count, seen),
        "cpu_ms_per_task": round(cpu * 1000 / count, 4),
        "lost": count - seen["known"],
        "repeated": repeated,
    }


def said(program, *words, **options):
    command = [str(word) for word in [*program, *words]]
    return subprocess.run(command, stdout=subprocess.PIPE, timeout=CLIENT_LIMIT_S, check=True, **options).stdout


def client(program, workload, count, first, env, log):
    seen = json.loads(said(program, "client", workload, count, first, env=env, stderr=log))
    if not seen["known"]:
        raise subprocess.SubprocessError("the client knows no result: do the workers run?")
    return seen


def run_again(executions, known):
    """How often tasks were run that had been run before."""
    numbers = [int(line) for file in executions.iterdir() for line in file.read_text().split()]
    measured = [number for number in numbers if number < WARM_UP_FROM]
    if len(set(measured)) < known:
        raise subprocess.SubprocessError("a worker did not say what it ran: was it killed?")
    return len(measured) - len(set(measured))


def figures(workload, count, seen):
    if workload == "w2":
        taken = sorted(seen["latencies_ms"])
        p99 = taken[min(len(taken) - 1, len(taken) * 99 // 100)]
        p50 = statistics.median(taken)
        return {"seconds": round(sum(taken) / 1000, 3), "p50_ms": round(p50, 3), "p99_ms": round(p99, 3)}
    seconds = seen["seconds"]
    if workload == "w1":
        return {"seconds": round(seconds, 3), "tasks_per_s": round(seen["known"] / seconds, 1)}
    ideal = count * LATENCY_MS / 1000 / IN_FLIGHT
    return {"seconds": round(seconds, 3), "wall_over_ideal": round(seconds / ideal, 3)}
