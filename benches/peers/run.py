"""Runs the peers' workloads one after the other and prints what came of each as one line of JSON.

Started by scripts/bench-peers, which installs the peers. A peer is a program:

    PROGRAM version                       prints its version
    PROGRAM worker WORKLOAD               runs tasks until SIGTERM, and leaves their numbers in files in $EXECUTIONS
    PROGRAM client WORKLOAD COUNT FIRST   submits COUNT tasks, numbered from FIRST, and prints JSON: "known" (how many
                                          results it knows to be right) with "seconds" (W1, W3) or "latencies_ms" (W2)

with REDIS_URL, UPSTREAM_URL, SETTINGS (JSON, from settings.json) and EXECUTIONS in the environment. A payload has 200
bytes and begins with the task's number in eight digits, which is the task's result too.
"""

import argparse
import itertools
import json
import pathlib
import signal
import subprocess
import sys

from measure import TASKS, measure
from stage import upstream

HERE = pathlib.Path(__file__).resolve().parent


def programs(installed, profile):
    rust = installed / "rust" / profile / "tidings-peers"
    python = {name: HERE / f"python/{name}_peer.py" for name in ("celery", "arq", "taskiq")}
    return {
        "load-generator": [rust, "load"],
        "apalis": [rust, "apalis"],
        "apalis-unlocked": [rust, "apalis"],
        "bullmq": ["node", HERE / "node/bullmq.cjs"],
        **{name: [installed / name / "bin/python", script] for name, script in python.items()},
    }


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench-peers", description="measures other task queues")
    parser.add_argument("--aof", action="store_true", help="Redis with an append-only file, synced every second")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the tasks to run, for example 0.1")
    parser.add_argument("--only", help="peers to run, for example bullmq,apalis")
    parser.add_argument("--workloads", default=",".join(TASKS), help="workloads to run, for example w1,w3")
    tried = "settings to try instead, as a JSON object; may be given more than once, each is a run"
    parser.add_argument("--set", type=json.loads, action="append", help=tried)
    parser.add_argument("--profile", default="release", help=argparse.SUPPRESS)
    parser.add_argument("--installed", type=pathlib.Path, default="target/peers", help=argparse.SUPPRESS)
    parser.add_argument("--tidings", default="target/release/tidings", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.programs = programs(options.installed, options.profile)
    options.peers = options.only.split(",") if options.only else list(options.programs)
    options.workloads = options.workloads.split(",")
    for given, there in ((options.peers, options.programs), (options.workloads, TASKS)):
        if unknown := set(given) - set(there):
            parser.error(f"there is no {', '.join(sorted(unknown))}, only {', '.join(there)}")
    if options.check:
        parser.exit()
    return options


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    options = arguments()
    settings = json.loads((HERE / "settings.json").read_text())
    logs = options.installed / "log"
    logs.mkdir(parents=True, exist_ok=True)
    failed = False
    with open(logs / "upstream.log", "wb") as log, upstream(options.tidings, log) as url:
        for peer in options.peers:
            workloads = [name for name in options.workloads if name in settings[peer]]
            for workload, tried in itertools.product(workloads, options.set or [{}]):
                path = logs / f"{peer}-{workload}.log"
                try:
                    with open(path, "wb") as log:
                        chosen = {**settings[peer][workload], **tried}
                        seen = measure(options.programs[peer], workload, chosen, options, url, log)
                        print(json.dumps({"peer": peer, **seen}), flush=True)
                except subprocess.SubprocessError as error:
                    failed = True
                    print(f"{peer} {workload} failed, see {path}: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
