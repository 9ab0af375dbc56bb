"""The real `tidings` binary, and a real HTTP upstream whose answers the test can hold back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, List, Optional

# How long a process may take to say where it listens; a debug build on a busy machine is slow.
START_SECONDS = 60


def binary() -> str:
    """The binary under test. Without one the tests fail: a skipped test would pass for a good one."""
    path = os.environ.get("TIDINGS_BIN", "")
    assert path, "set TIDINGS_BIN to a built `tidings`, or run `make test`, which builds one (target/debug/tidings)"
    assert os.access(path, os.X_OK), f"TIDINGS_BIN={path} cannot be run; build it with `cargo build`"
    return path


class Process:
    """A `tidings` command that serves, started and waited for."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._arguments = [binary(), *arguments]
        self._log = folder / f"{arguments[0]}.log"
        self._folder = folder
        self._process: Optional[subprocess.Popen[str]] = None
        self.address = ""

    def start(self, *more: str) -> None:
        """Starts it and reads where it listens."""
        # A TIDINGS_* variable of the caller would configure, or stop, the server under test.
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("TIDINGS_", "OPENAI_"))}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*self._arguments, *more], stdout=subprocess.PIPE, stderr=log, text=True, cwd=self._folder, env=clean
            )
        line = self._first_line()
        found = re.search(r"\b\d+\.\d+\.\d+\.\d+:\d+\b", line)
        assert found, f"{self._arguments} said {line!r}; its log:\n{self._log.read_text()}"
        self.address = found.group()

    def _first_line(self) -> str:
        process = self._process
        assert process is not None and process.stdout is not None
        stuck = threading.Timer(START_SECONDS, process.kill)
        stuck.start()
        line = process.stdout.readline()
        stuck.cancel()
        # Read on, so that the process never blocks on a full pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        return line

    def kill(self) -> None:
        """Ends it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def serve(folder: Path, upstream: str) -> Process:
    """`tidings serve` on an embedded store in `folder`."""
    return Process(
        folder,
        "serve",
        "--store",
        f"embedded:{folder / 'store'}",
        "--upstream-url",
        f"http://{upstream}/v1",
        "--admin-listen",
        "127.0.0.1:0",
        # Tasks of a killed server are taken up again after this long.
        "--lease",
        "1s",
    )


class GatedUpstream:
    """An OpenAI-compatible upstream that answers `free` calls at once and holds all others until `open`."""

    def __init__(self, free: int) -> None:
        self._free = threading.Semaphore(free)
        self._opened = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def open(self) -> None:
        """Answers everything from now on."""
        self._opened.set()

    def close(self) -> None:
        """Stops listening."""
        self.open()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> Any:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if not upstream._free.acquire(blocking=False):
                    upstream._opened.wait()
                reply = json.dumps(completion(request["messages"])).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    # The server under test was killed on the other end.
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        return Handler


def completion(messages: List[Any]) -> Any:
    """An answer that repeats the question."""
    message = {"role": "assistant", "content": "you said: " + messages[-1]["content"]}
    return {
        "id": "c",
        "object": "chat.completion",
        "model": "gated",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
