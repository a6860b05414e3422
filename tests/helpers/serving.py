"""A server in the process of a test, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from dssm_lightning.serving.app import build_app
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import Limits, ServingSettings, name_bundles


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def value(self) -> Any:
        """The JSON, which has neither NaN nor infinity."""
        return json.loads(self.content.decode("utf-8"), parse_constant=_refuse)

    @property
    def error(self) -> str:
        """The message of an error, of a status of 4xx or 5xx."""
        assert self.status >= 400, self.content
        assert set(self.value) == {"error", "error_type"}
        assert "\n" not in self.value["error"]
        return str(self.value["error"])


class Server:
    """An application, asked by ASGI, with all requests of one call at once."""

    def __init__(self, serving: Serving) -> None:
        self.serving, self.app = serving, build_app(serving)
        self._runner = asyncio.new_event_loop()

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """Send one body; bytes are sent as they are."""
        return self.post_all(path, [body], **headers)[0]

    def post_all(self, path: str, bodies: Sequence[Any], **headers: str) -> list[Answer]:
        """Send several bodies at once."""
        contents = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
        return self.run(self._all([("POST", path, content, headers) for content in contents]))

    def get(self, path: str, **headers: str) -> Answer:
        """Read an address."""
        found: list[Answer] = self.run(self._all([("GET", path, b"", headers)]))
        return found[0]

    def run(self, made: Any) -> Any:
        """Run a coroutine on the server's loop."""
        return self._runner.run_until_complete(asyncio.wait_for(made, 60))

    def close(self) -> None:
        """End the server."""
        self.serving.close()
        self.run(asyncio.sleep(0.01))
        self._runner.close()

    async def _all(self, requests: Sequence[Any]) -> list[Answer]:
        return await asyncio.gather(*(self.ask(*request) for request in requests))

    async def ask(self, method: str, path: str, content: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send one request by ASGI."""
        address, _, query = path.partition("?")
        given = {"host": "localhost", **(headers or {})}
        if method == "POST":
            given = {"content-type": "application/json", "content-length": str(len(content)), **given}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": address,
            "raw_path": address.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def serving_of(*bundles: str | Path, limits: dict[str, Any] | None = None, **settings: Any) -> Serving:
    """What serves some bundles, which are open."""
    given = ServingSettings(name_bundles([str(bundle) for bundle in bundles]), Limits(**(limits or {})), **settings)
    serving = Serving(given)
    serving.open()
    return serving


@contextmanager
def served(*bundles: str | Path, limits: dict[str, Any] | None = None, **settings: Any) -> Iterator[Server]:
    """Yield a server of some bundles, and close it."""
    server = Server(serving_of(*bundles, limits=limits, **settings))
    try:
        yield server
    finally:
        server.close()
