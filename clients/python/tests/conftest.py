"""What the tests share: a scripted server, and a way to make clients of both kinds."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest
from both import KINDS
from fake_server import FakeServer

import tidings

Connect = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture(params=sorted(KINDS))
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients, sync in one run of the test and async in the other, that are quick to try again."""
    made: List[Any] = []

    def make(endpoint: str, **settings: Any) -> Any:
        settings.setdefault("retry", tidings.RetryPolicy(initial=0.01, maximum=0.1))
        made.append(KINDS[request.param](endpoint, **settings))
        return made[-1]

    yield make
    for client in made:
        client.stop()


@pytest.fixture
def client(connect: Connect, server: FakeServer) -> Any:
    return connect(server.endpoint)
