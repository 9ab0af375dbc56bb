"""How both clients reach the server: address, channel options, credentials, metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import grpc

from tidings.retry import RetryPolicy
from tidings.v1 import task_service_pb2_grpc

DEFAULT_ENDPOINT = "127.0.0.1:50051"

Pairs = Sequence[Tuple[str, Union[str, bytes]]]
# Fixed pairs, or a function asked anew for each call, for tokens that expire.
Metadata = Union[Pairs, Callable[[], Pairs]]


@dataclass(frozen=True)
class Settings:
    """How a client behaves; see `Client`."""

    endpoint: str
    credentials: Optional[grpc.ChannelCredentials]
    metadata: Metadata
    call_timeout: float
    silence: float
    retry: RetryPolicy
    options: Sequence[Tuple[str, Any]]

    def pairs(self) -> Pairs:
        """The metadata of the next call."""
        return self.metadata() if callable(self.metadata) else self.metadata

    def target(self) -> Tuple[str, Optional[grpc.ChannelCredentials]]:
        """The address without its scheme, and the credentials to use: an https address asks for TLS by itself."""
        scheme, separator, rest = self.endpoint.partition("://")
        if not separator:
            return self.endpoint, self.credentials
        if scheme not in ("http", "https"):
            # `dns:///host` and the like are gRPC's own names.
            return self.endpoint, self.credentials
        secure = scheme == "https" and self.credentials is None
        return rest.rstrip("/"), grpc.ssl_channel_credentials() if secure else self.credentials

    def channel_options(self) -> List[Tuple[str, Any]]:
        """gRPC's own settings; those of the caller come last and win."""
        return [
            # Finds a dead connection that heartbeats cannot, because no stream is open.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),
            # A restarted server is found within seconds; gRPC's own default is two minutes.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 3_000),
            # Above the server's 3 MiB a reply, with room for one large event.
            ("grpc.max_receive_message_length", 16 * 1024 * 1024),
            *self.options,
        ]


def stub(channel: Any) -> Any:
    """The generated stub, which carries no types; `calls` and `follow` know what its methods take and give."""
    make: Any = task_service_pb2_grpc.TaskServiceStub
    return make(channel)
