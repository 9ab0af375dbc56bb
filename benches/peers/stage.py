"""The programs that a run needs, each of which is stopped with it, and the CPU time that they use."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# How long the simulated upstream takes to answer.
LATENCY_MS = 50


@contextlib.contextmanager
def started(command, log, env=None, stdout=None):
    """A program in a session of its own: told to stop at the end, and killed with all its children if it does not."""
    words = [str(word) for word in command]
    process = subprocess.Popen(words, env=env, stdout=stdout or log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def redis_server(aof, log):
    directory = tempfile.mkdtemp(prefix="bench-peers-")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    durability = ["--appendonly", "yes", "--appendfsync", "everysec"] if aof else ["--appendonly", "no"]
    command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", directory, "--save", "", *durability]
    try:
        with started(command, log):
            wait_for_port(port)
            yield f"redis://127.0.0.1:{port}"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_port(port):
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"redis-server does not listen on port {port}: see its log") from None
            time.sleep(0.02)


@contextlib.contextmanager
def upstream(tidings, log):
    command = [tidings, "simulate-upstream", "--listen", "127.0.0.1:0", "--latency", f"{LATENCY_MS}ms"]
    # Tidings refuses to start with settings in the environment that it does not know, such as this script's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    with started([*command, "--output", "json"], log, env, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the simulated upstream did not start, see {log.name}")
        yield json.loads(line)["base_url"] + "/chat/completions"


def cpu_seconds(workers):
    """User and system time of the workers and of all the processes that they started."""
    sessions, ticks = {str(worker.pid) for worker in workers}, 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[3] in sessions:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")
