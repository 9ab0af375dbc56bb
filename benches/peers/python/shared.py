"""What the peers in Python have in common: the payloads, and how a client waits for results by reading them."""

import collections
import json
import os
import time

PAYLOAD = 200
# How long the next result is waited for before the rest counts as lost.
PATIENCE_S = 60
# Results asked for by one MGET.
READ = 1000
# How long to wait before asking again when none was there.
PAUSE_S = 0.002

SETTINGS = json.loads(os.environ.get("SETTINGS", "{}"))
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
UPSTREAM_URL = os.environ.get("UPSTREAM_URL", "")


def payload(number):
    return f"{number:08}".ljust(PAYLOAD, "x")


def request_body(text):
    return {"model": "simulated", "messages": [{"role": "user", "content": text}]}


def batches(count, first, size):
    """The numbers of the tasks to submit, some at a time."""
    for start in range(first, first + count, size):
        yield range(start, min(first + count, start + size))


class Executions:
    """The numbers of the tasks that this process ran: one write each, so that no way of ending a process loses any."""

    def __init__(self):
        self.file = None

    def ran(self, text):
        if self.file is None:
            path = os.path.join(os.environ["EXECUTIONS"], str(os.getpid()))
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self.file, f"{text[:8]}\n".encode())
        return text[:8]


class Waiting:
    """Tasks submitted whose results are not known: the oldest are asked for first."""

    def __init__(self, count):
        self.left, self.known, self.tasks = count, 0, collections.deque()
        self.started = self.latest = time.perf_counter()

    def submitted(self, key, number):
        self.tasks.append((key, number))

    def asked(self):
        return [self.tasks.popleft() for _ in range(min(READ, len(self.tasks)))]

    def told(self, asked, values, result_of):
        """Takes what was read for the tasks that were asked for; whether any result was among it."""
        missing = [task for task, value in zip(asked, values) if value is None]
        self.tasks.extendleft(reversed(missing))
        found = [(number, value) for (_, number), value in zip(asked, values) if value is not None]
        self.left -= len(found)
        self.known += sum(result_of(value) == f"{number:08}" for number, value in found)
        if found:
            self.latest = time.perf_counter()
        return bool(found)

    def over(self):
        return self.left == 0 or time.perf_counter() - self.latest > PATIENCE_S

    def report(self):
        print(json.dumps({"seconds": self.latest - self.started, "known": self.known}))


def report_latencies(seconds, known):
    print(json.dumps({"latencies_ms": [taken * 1000 for taken in seconds], "known": known}))
