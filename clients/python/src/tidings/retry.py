"""When to try again, and when to give up. Pure but for the dice: time comes in as a parameter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Optional

import grpc

from tidings.errors import Error

# How a stream ends when a server, a proxy or the network on the way goes away. After none of them
# does a resumed watch repeat or skip an event.
_RESUMABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        # Not ours: the caller looks at its own deadline first.
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


@dataclass(frozen=True)
class RetryPolicy:
    """Backoff with full jitter: the n-th wait is anything up to `initial * 2**n`, at most `maximum`; all in seconds.

    A wait that the server asked for (RetryInfo) comes on top. `give_up_after` bounds how long a watch goes without
    any sign of the server before its last error is raised; None is for ever.
    """

    initial: float = 0.1
    maximum: float = 10.0
    give_up_after: Optional[float] = 300.0

    def wait(self, failures: int, retry_after: Optional[float]) -> float:
        """Seconds to wait after that many failures in a row."""
        # The exponent is bounded because a float overflows at 2**1024.
        ceiling = min(self.maximum, self.initial * 2.0 ** min(failures, 64))
        return (retry_after or 0.0) + random.uniform(0.0, ceiling)


class CallRetry:
    """The retries of one unary call within its deadline."""

    def __init__(self, policy: RetryPolicy, deadline: float) -> None:
        self._policy = policy
        self._deadline = deadline
        self._failures = 0

    def remaining(self, now: float) -> float:
        """Seconds left for the next try."""
        return max(self._deadline - now, 0.0)

    def wait(self, error: Error, now: float) -> float:
        """Seconds to wait before the next try; raises `error` when there is to be none."""
        wait = self._policy.wait(self._failures, error.retry_after)
        self._failures += 1
        if error.code is not grpc.StatusCode.UNAVAILABLE or now + wait >= self._deadline:
            raise error
        return wait


class StreamRetry:
    """The reconnects of one watch, until its own deadline if it has one."""

    def __init__(self, policy: RetryPolicy, deadline: Optional[float], now: float) -> None:
        self._policy = policy
        self._deadline = deadline
        self._last_sign = now
        self._failures = 0

    def remaining(self, now: float) -> Optional[float]:
        """Seconds left for the watch; None without a deadline."""
        return None if self._deadline is None else max(self._deadline - now, 0.0)

    def message_came(self, now: float) -> None:
        """The stream lives."""
        self._last_sign = now
        self._failures = 0

    def wait(self, error: Error, now: float) -> float:
        """Seconds to wait before reconnecting; raises `error` when there is no point in it."""
        if error.code not in _RESUMABLE:
            raise error
        wait = self._policy.wait(self._failures, error.retry_after)
        self._failures += 1
        patience = self._policy.give_up_after
        if patience is not None and now + wait - self._last_sign > patience:
            raise error
        return wait if self._deadline is None else min(wait, self.remaining(now) or 0.0)

    def expired(self, now: float) -> bool:
        """Whether the watch's own deadline has passed."""
        return self._deadline is not None and now >= self._deadline
