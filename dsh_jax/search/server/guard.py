"""Admits a request, or refuses it before its body is read into memory or anything is computed."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers

from dsh_jax.search.server.limits import Limits, Refused
from dsh_jax.search.server.responses import refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_MOST_DROPPED = 2**27  # bytes of a refused body that are read, so that its sender hears why
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """What Prometheus is told of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "dsh_jax_requests", "Answered requests.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "dsh_jax_request_seconds", "From the first byte to the answer.", ["path"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.in_hand = Gauge("dsh_jax_requests_in_hand", "Requests in hand.", registry=registry)


class Guard:
    """ASGI middleware with the limits, the token and the metrics.

    Args:
      app: what is guarded.
      limits: of requests.
      token: that requests must bear; empty for none.
      hosts: names that the Host header may have; empty for any. A web page elsewhere can make its
        own name mean 127.0.0.1, but not this header.
      free: paths that need no token.
      unlimited: paths that are answered however much is in hand.
      paths: that metrics may name.
      metrics: see there.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        limits: Limits,
        token: str,
        hosts: Collection[str],
        free: Collection[str],
        unlimited: Collection[str],
        paths: Collection[str],
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._limits = limits
        self._token = f"Bearer {token}".encode() if token else b""
        self._hosts = hosts
        self._free, self._unlimited, self._paths = free, unlimited, paths
        self._metrics = metrics
        self._in_hand = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        start, status, ended = time.perf_counter(), 0, False
        refused: Refused | None = None

        async def noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        async def noting_end() -> Message:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body")
            return message

        try:
            async with asyncio.timeout(self._limits.seconds) as timer:
                try:
                    await self._admitted(scope, noting_end, noting_status)
                except Refused as error:
                    refused = error
                    dropped = 0
                    # Who waits for a word has sent nothing yet.
                    while not ended and dropped < _MOST_DROPPED and not _expects(scope):
                        dropped += len((await noting_end()).get("body", b""))
        except TimeoutError:
            if not timer.expired() or status:
                raise
            limit = f"{self._limits.seconds:g} seconds"
            refused = refused or Refused(
                503, f"it took more than {limit}: ask for less, or send it faster."
            )
        finally:
            if refused:
                await refusal(refused)(scope, receive, noting_status)
            if status:
                self._metrics.requests.labels(path, status).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - start)

    async def _admitted(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        counted = scope["path"] not in self._unlimited
        self._in_hand += counted
        self._metrics.in_hand.set(self._in_hand)
        try:
            self._check(scope["path"], headers, counted)
            body = await self._body(receive)
            if body is not None:
                await self._app(scope, _again(body, receive), send)
        finally:
            self._in_hand -= counted
            self._metrics.in_hand.set(self._in_hand)

    def _check(self, path: str, headers: Headers, counted: bool) -> None:
        if self._hosts and _name(headers.get("host", "")) not in self._hosts:
            raise Refused(
                421, f"this server is called {' or '.join(sorted(self._hosts))}: use that name."
            )
        given = headers.get("authorization", "").encode("latin-1")
        if self._token and path not in self._free and not hmac.compare_digest(given, self._token):
            raise Refused(401, "the token is missing or wrong: send Authorization: Bearer TOKEN.")
        if counted and self._in_hand > self._limits.concurrency:
            raise Refused(503, "too many requests are in hand: try again in a second.")
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > self._limits.upload_bytes:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None if the client has gone."""
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._limits.upload_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return b"".join(chunks)

    def _too_large(self) -> Refused:
        limit = self._limits.upload_bytes
        return Refused(413, f"a request may have up to {limit:,} bytes: send a smaller one.")


def _expects(scope: Message) -> bool:
    return "expect" in Headers(scope=scope)


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that has been read, and then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _name(host: str) -> str:
    """A Host header without its port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
