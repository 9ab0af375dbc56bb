"""One face for both clients, so that every test runs on each."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Iterator

import tidings


class BlockingAsync:
    """`AsyncClient` behind blocking calls, on an event loop of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(self._connect(*args, **kwargs))

    async def _connect(self, *args: Any, **kwargs: Any) -> tidings.AsyncClient:
        return tidings.AsyncClient(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            outcome = method(*args, **kwargs)
            if inspect.isasyncgen(outcome):
                return self._drain(outcome)
            return self._loop.run_until_complete(outcome)

        return call

    def _drain(self, generator: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(generator.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(generator.aclose())

    def stop(self) -> None:
        """Closes the client and its loop."""
        self._loop.run_until_complete(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class Blocking(tidings.Client):
    """`Client`, with the same way to stop it."""

    def stop(self) -> None:
        """Closes the client."""
        self.close()


KINDS = {"sync": Blocking, "async": BlockingAsync}
