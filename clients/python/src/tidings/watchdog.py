"""Cuts a stream that has fallen silent: a blocking read has no timeout of its own."""

from __future__ import annotations

import threading
import time
from typing import Any, Iterator, Optional

# How often, within the time allowed, the watchdog looks: it bites at most an eighth late.
_LOOKS = 8


class Watchdog:
    """Watches over one stream, in a thread of its own."""

    def __init__(self, call: Any, silence: float) -> None:
        self._call = call
        self._silence = silence
        self._reading_since: Optional[float] = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="tidings-watchdog", daemon=True).start()

    def guarded(self) -> Iterator[Any]:
        """The stream's messages. Only waiting for one counts as silence, not what the caller does with it."""
        while True:
            self._reading_since = time.monotonic()
            try:
                message = next(self._call)
            except StopIteration:
                return
            finally:
                self._reading_since = None
            yield message

    def stop(self) -> None:
        """Ends the watch."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._silence / _LOOKS):
            since = self._reading_since
            if since is not None and time.monotonic() - since > self._silence:
                self._call.cancel()
                return
