"""The one middleware: what is let in, how long it may take, what an answer carries, and what is counted and logged.

It is written for ASGI, without Starlette's requests and responses, since every request pays for it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from starlette.requests import ClientDisconnect

from dssm_lightning.serving.access_log import log_access, show_accesses
from dssm_lightning.serving.admission import Admission, too_large
from dssm_lightning.serving.cross_origin import CrossOrigin
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.route_table import RouteTable
from dssm_lightning.serving.security_headers import Headers, security_headers
from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.serving.telemetry import Telemetry
from dssm_lightning.utils.logger import LOGGER

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_LEFT = 499
"""The status that is counted for a client that left before its answer."""
LONGEST_ID = 64
_ID_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"
_DISCARDED, _DISCARDED_S = 4, 2.0
"""A refused body is read up to this many times ``max_body``, for some seconds, so that the connection can stay open."""


class Guard:
    """Lets requests in and answers out.

    Args:
        app: what answers the requests.
        settings: of the server.
        telemetry: what counts them.
        is_draining: returns whether the server is about to end, so that connections are closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServingSettings,
        telemetry: Telemetry,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.app, self.limits, self.telemetry, self.is_draining = app, settings.limits, telemetry, is_draining
        self.admission, self.sites = Admission(settings), CrossOrigin(settings.cors_origins)
        self.logs_accesses = settings.access_log
        if settings.access_log:
            show_accesses()
        self.in_flight = 0
        self._routes: RouteTable | None = None
        self._ids, self._number = secrets.token_hex(6), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
        else:
            await self._answer(_Exchange(self, scope, receive, send))

    async def _answer(self, exchange: _Exchange) -> None:
        self.in_flight += 1
        self.telemetry.begin_request()
        try:
            await self._guarded(exchange)
        except ClientDisconnect:
            exchange.status = CLIENT_LEFT
        except asyncio.CancelledError:
            exchange.status = exchange.status or CLIENT_LEFT
            raise
        finally:
            self.in_flight -= 1
            self._record(exchange)

    async def _guarded(self, exchange: _Exchange) -> None:
        try:
            headers = self._admitted(exchange)
            if headers is None:
                await self.app(exchange.inner_scope, exchange.receive, exchange.send)
            else:
                await exchange.send({"type": "http.response.start", "status": 204, "headers": headers})
                await exchange.send({"type": "http.response.body", "body": b""})
        except RequestError as error:
            await self._refuse(exchange, error)
        except ClientDisconnect:
            raise
        except Exception:
            LOGGER.exception("request %s: %s %r failed", exchange.request_id, exchange.method, exchange.path)
            if exchange.started:  # half an answer is no answer: the server closes the connection
                raise
            await self._refuse(exchange, RequestError(500, "internal error"))

    def _admitted(self, exchange: _Exchange) -> Headers | None:
        """Return None for a request that is let in, or the headers of the answer to ``OPTIONS``."""
        headers, method, path = exchange.headers, exchange.method, exchange.path
        if self.in_flight > self.limits.max_connections:
            most = self.limits.max_connections
            message = f"{most:,} requests are being answered (--max_connections); try again"
            raise RequestError(503, message, headers={"Retry-After": "1"})
        if CrossOrigin.is_preflight(method, headers):
            return self.sites.preflight(headers)
        server = exchange.scope.get("server")
        self.admission.require(method, path, headers, server[0] if server else None)
        if method == "OPTIONS" and (methods := self.routes(exchange.scope).methods(path)):
            return [(b"allow", ", ".join(methods).encode())]
        return None

    async def _refuse(self, exchange: _Exchange, error: RequestError) -> None:
        self.telemetry.count_error(error.error_type)
        await exchange.discard_body(_DISCARDED * self.limits.max_body)
        if not exchange.started:
            await error.response()(exchange.scope, exchange.receive, exchange.send)

    def routes(self, scope: Scope) -> RouteTable:
        """Return the paths of the application that a request is for; they are read once."""
        if self._routes is None:
            app = scope.get("app", self.app)
            self._routes = RouteTable(getattr(app, "routes", ()))
            self.telemetry.know_paths(self._routes.paths)
        return self._routes

    def _record(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        label = self.routes(exchange.scope).label(exchange.path)
        self.telemetry.end_request(exchange.method, label, exchange.status, seconds)
        if self.logs_accesses:
            client = exchange.scope.get("client")
            log_access(
                *(exchange.method, exchange.path, exchange.status, seconds, exchange.size),
                *(client[0] if client else "", exchange.request_id),
            )

    def new_id(self) -> str:
        """Return an id that no other request has."""
        return f"{self._ids}-{next(self._number):x}"


class _Exchange:
    """One request and its answer."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.guard, self.scope, self._receive, self._send = guard, scope, receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.began = time.perf_counter()
        given = self.headers.get(b"x-request-id", b"")
        sane = 0 < len(given) <= LONGEST_ID and not given.translate(None, _ID_CHARACTERS)
        self.request_id = given.decode() if sane else guard.new_id()
        self.status, self.size, self.started = 0, 0, False
        self._read, self._complete = 0, not self._announces_body()

    @property
    def inner_scope(self) -> Scope:
        """What the application sees: routes know no HEAD, whose answer is that to GET without the body."""
        return {**self.scope, "method": "GET"} if self.method == "HEAD" else self.scope

    def _announces_body(self) -> bool:
        return self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers

    async def receive(self) -> Message:
        """Return the next part of the body.

        Raises:
            RequestError: 408 for a body that does not arrive, 413 for one that becomes too long.
        """
        if self._complete:
            return await self._receive()
        message = await self._next_part(self.guard.limits.body_timeout)
        most = self.guard.limits.max_body
        if self._read > most:
            raise too_large(most)
        return message

    async def _next_part(self, limit: float) -> Message:
        try:
            with anyio.fail_after(self.began + limit - time.perf_counter()):
                message = await self._receive()
        except TimeoutError:
            found = f"{self._read:,} bytes of the body arrived in {limit:g} seconds (--body_timeout)"
            raise RequestError(408, found) from None
        self._read += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message

    async def discard_body(self, most: int) -> None:
        """Read the rest of a refused body, up to ``most`` bytes; the connection is closed if it is longer or slow."""
        if b"expect" in self.headers:  # the client waits for the answer before it sends the body
            return
        length = self.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > most:
            return
        limit = min(self.guard.limits.body_timeout, time.perf_counter() - self.began + _DISCARDED_S)
        try:
            while not self._complete and self._read <= most:
                await self._next_part(limit)
        except RequestError:
            return

    async def send(self, message: Message) -> None:
        """Send a part of the answer, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message = {**message, "headers": self._answer_headers(message.get("headers", ()))}
        elif message["type"] == "http.response.body":
            if self.method == "HEAD":
                message = {**message, "body": b""}
            self.size += len(message.get("body", b""))
        await self._send(message)

    def _answer_headers(self, own: Any) -> Headers:
        headers: Headers = list(own)
        names = {name.lower() for name, _ in headers}
        headers += [pair for pair in security_headers(self.method, self.path) if pair[0] not in names]
        headers += self.guard.sites.headers(self.headers)
        headers.append((b"x-request-id", self.request_id.encode()))
        if b"connection" not in names and (not self._complete or self.guard.is_draining()):
            headers.append((b"connection", b"close"))
        return headers
