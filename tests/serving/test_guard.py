"""What every request meets before the application, and every answer after it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="pip install fastapi")
pytest.importorskip("httpx", reason="pip install httpx")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dssm_lightning.serving import guard
from dssm_lightning.serving.access_log import ACCESS
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.guard import CLIENT_LEFT, Guard
from dssm_lightning.serving.settings import Limits, ServingSettings, name_bundles
from dssm_lightning.serving.telemetry import Telemetry

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BUNDLES = name_bundles(["shop"])


async def echo(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


async def alive(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def broken(request: Request) -> Response:
    raise LookupError("secret of the code")


async def refusing(request: Request) -> Response:
    raise RequestError(422, "no such column")


async def half(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"half"
        raise LookupError("secret of the code")

    return StreamingResponse(parts())


def application() -> Starlette:
    return Starlette(
        routes=[
            Route("/search", echo, methods=["POST"]),
            Route("/health", alive),
            Route("/", alive),
            Route("/docs", alive),
            Route("/page/{file}", alive),
            Route("/pictures/{bundle}/{row}", alive),
            Route("/broken", broken),
            Route("/refusing", refusing),
            Route("/half", half),
        ]
    )


def guarded(telemetry: Telemetry | None = None, draining: Callable[[], bool] = lambda: False, **changes: Any) -> Any:
    limits = Limits(**{name: changes.pop(name) for name in list(changes) if name in Limits.__dataclass_fields__})
    settings = ServingSettings(BUNDLES, limits, **changes)
    app = application()
    app.add_middleware(Guard, settings=settings, telemetry=telemetry or Telemetry(), is_draining=draining)
    return app


def client(telemetry: Telemetry | None = None, **changes: Any) -> TestClient:
    return TestClient(guarded(telemetry, **changes), raise_server_exceptions=False)


def error_of(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"error", "error_type"}
    return answer.status_code, body["error_type"]


# -- the token ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/", "/docs", "/page/page.js"])
def test_static_files_and_health_need_no_token(path: str) -> None:
    assert client(token=TOKEN).get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/search", "/metrics", "/info", "/openapi.json", "/pictures/a/1", "/unknown", "/page"]
)
def test_everything_else_needs_it(path: str) -> None:
    answer = client(token=TOKEN).get(path)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        (TOKEN, 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("", 401),
        ("Bearer \u00e9", 401),
    ],
)
def test_only_the_token_itself_opens(given: str, status: int) -> None:
    header = {"Authorization": given.encode("latin-1")}
    assert client(token=TOKEN).post("/search", json={}, headers=header).status_code == status


def test_without_a_token_nothing_is_asked_for() -> None:
    assert client().post("/search", json={}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1:8000", "[::1]:8000", "[::1]", "shop.test:80"]
)
def test_this_machine_is_asked_by_its_own_names(host: str) -> None:
    headers = {"Host": host}
    assert client(allowed_hosts=("shop.test",)).get("/health", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_another_site_lets_point_here_is_refused(host: str) -> None:
    """DNS rebinding: the browser takes the server for the site's own."""
    answer = client().post("/search", json={}, headers={"Host": host})
    assert error_of(answer) == (403, "wrong_host")
    assert "--allowed_host" in answer.text
    assert client(token=TOKEN).get("/health", headers={"Host": host}).status_code == 200, "a site has no token"
    assert client(host="0.0.0.0").get("/health", headers={"Host": host}).status_code == 200, "behind any name"


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1000, 1001])
def test_a_body_that_is_announced_as_too_long_is_refused(length: int) -> None:
    answer = client(max_body=1000).post("/search", content=b" " * length, headers={"Content-Type": "application/json"})
    if length == 1000:
        assert answer.json() == {"bytes": 1000}
    else:
        assert error_of(answer) == (413, "too_large")
        assert "1,001" in answer.text
        assert "--max_body" in answer.text


def chunks(number: int) -> Iterator[bytes]:
    for _ in range(number):
        yield b" " * 100


def test_a_body_of_unknown_length_is_counted() -> None:
    json_type = {"Content-Type": "application/json"}
    assert client(max_body=1000).post("/search", content=chunks(10), headers=json_type).json() == {"bytes": 1000}
    answer = client(max_body=1000).post("/search", content=chunks(11), headers=json_type)
    assert error_of(answer) == (413, "too_large")


@pytest.mark.parametrize("length", [b"1" * 5000, b"99999999999999999999", b"1_0", b"-5", b"+5", b"\xb2"])
def test_any_announced_length_is_survived(length: bytes) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": length}
    assert client(max_body=1000).post("/search", content=b"{}", headers=headers).status_code in (200, 413)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/json; charset="utf-8"', 200),
        ("application/json; odata=verbose", 200),
        ("application/json; charset=utf-16", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
        ("text/plain; application/json", 415),
        ("", 415),
    ],
)
def test_a_body_is_json(kind: str, status: int) -> None:
    answer = client().post("/search", content=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == status
    if status == 415:
        assert error_of(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("br", 415), ("identity", 200), ("", 200)])
def test_a_compressed_body_is_refused(coding: str, status: int) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    assert client().post("/search", content=b"{}", headers=headers).status_code == status


# -- slow, many, broken ------------------------------------------------------------------------------------------------


def scope_of(method: str = "POST", path: str = "/search", headers: dict[str, str] | None = None) -> dict[str, Any]:
    named = {"host": "localhost", "content-type": "application/json", **(headers or {})}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "http_version": "1.1",
        "client": ("10.0.0.7", 5000),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "root_path": "",
    }


async def ask(app: Any, receive: Any, scope: dict[str, Any]) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


def test_a_slow_body_is_not_waited_for() -> None:
    async def receive() -> Any:
        if not parts:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": parts.pop(), "more_body": True}

    parts = [b"abc"]
    began = time.monotonic()
    asked = ask(guarded(body_timeout=0.05), receive, scope_of(headers={"content-length": "10"}))
    status, headers, body = asyncio.run(asked)
    assert status == 408
    assert json.loads(body)["error_type"] == "slow_body"
    assert "3 bytes" in json.loads(body)["error"]
    assert headers[b"connection"] == b"close", "the rest of the body would be taken for the next request"
    assert time.monotonic() - began < 10


def test_a_refused_body_is_read_so_that_the_connection_stays_open() -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 10, "more_body": next(parts, None) is not None}

    parts = iter(range(10))
    wrong_type = {"content-type": "text/plain", "content-length": "110"}
    status, headers, _ = asyncio.run(ask(guarded(), receive, scope_of(headers=wrong_type)))
    assert status == 415
    assert b"connection" not in headers
    assert next(parts, None) is None


def test_a_refused_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_DISCARDED_S", 0.1)

    async def receive() -> Any:
        await asyncio.sleep(60)

    began = time.monotonic()
    asked = ask(guarded(token=TOKEN), receive, scope_of(headers={"content-length": "110"}))
    status, headers, _ = asyncio.run(asked)
    assert (status, headers[b"connection"]) == (401, b"close")
    assert time.monotonic() - began < 10
    expecting = {"content-length": "110", "expect": "100-continue"}
    status, headers, _ = asyncio.run(ask(guarded(token=TOKEN), receive, scope_of(headers=expecting)))
    assert (status, headers[b"connection"]) == (401, b"close"), "the client waits for the answer before the body"


def test_drops_of_a_body_do_not_make_its_time_longer() -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    app = guarded(body_timeout=0.1)
    status, _, _ = asyncio.run(asyncio.wait_for(ask(app, receive, scope_of(headers={"content-length": "999"})), 10))
    assert status == 408


def test_a_client_that_leaves_is_counted_and_no_error() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    telemetry = Telemetry()
    with pytest.raises(IndexError):  # nothing is sent
        asyncio.run(ask(guarded(telemetry), receive, scope_of(headers={"content-length": "9"})))
    labels = {"method": "POST", "path": "/search", "status": str(CLIENT_LEFT)}
    assert telemetry.value("dssm_requests_total", **labels) == 1
    assert telemetry.value("dssm_requests_in_flight") == 0


def test_more_requests_than_connections_wait_outside() -> None:
    release = asyncio.Event()

    async def receive() -> Any:
        await release.wait()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def run() -> list[tuple[int, dict[bytes, bytes], bytes]]:
        app = guarded(max_connections=2)
        announced = {"content-length": "2"}
        asked = [asyncio.create_task(ask(app, receive, scope_of(headers=announced))) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await ask(app, receive, scope_of())
        release.set()
        return [refused, *await asyncio.gather(*asked), await ask(app, receive, scope_of(headers=announced))]

    refused, *others = asyncio.run(run())
    assert refused[0] == 503
    assert refused[1][b"retry-after"] == b"1"
    assert [status for status, _, _ in others] == [200, 200, 200]


def test_an_unexpected_error_tells_the_log_and_not_the_client(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    with caplog.at_level(logging.ERROR):
        answer = client(telemetry).get("/broken", headers={"X-Request-ID": "id-7"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error", "error_type": "internal"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret of the code" in caplog.text
    assert "id-7" in caplog.text
    assert telemetry.value("dssm_errors_total", error_type="internal") == 1


def test_half_an_answer_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """The client sees that the connection ended early, and takes no part for the whole."""
    with pytest.raises(LookupError):
        TestClient(guarded()).get("/half")
    assert "secret of the code" in caplog.text


def test_a_refusal_of_the_application_is_answered() -> None:
    telemetry = Telemetry()
    assert error_of(client(telemetry).get("/refusing")) == (422, "validation")
    assert telemetry.value("dssm_errors_total", error_type="validation") == 1


# -- headers -----------------------------------------------------------------------------------------------------------

ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


@pytest.mark.parametrize("path", ["/", "/health", "/broken", "/unknown", "/docs", "/refusing"])
def test_every_answer_has_the_headers(path: str) -> None:
    answer = client().get(path)
    assert {name: answer.headers[name] for name in ALWAYS} == ALWAYS
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    for part in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert part in policy
    script = policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe" not in script


def test_answers_to_questions_are_not_stored() -> None:
    assert client().post("/search", json={}).headers["cache-control"] == "no-store"
    assert "cache-control" not in client().get("/health").headers


def test_sites_are_kept_out_by_default() -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = client().options("/search", headers=asked)
    assert error_of(answer) == (403, "forbidden")
    found = client().post("/search", json={}, headers={"Origin": "https://shop.example"})
    assert not [name for name in [*answer.headers, *found.headers] if name.startswith("access-control")]


def test_an_allowed_site_may_ask() -> None:
    app = client(cors_origins=("https://shop.example",), token=TOKEN)
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    before = app.options("/search", headers=asked | {"Access-Control-Request-Private-Network": "true"})
    assert before.status_code == 204, "a browser sends no token with this question"
    assert "POST" in before.headers["access-control-allow-methods"]
    assert "authorization" in before.headers["access-control-allow-headers"].lower()
    assert before.headers["access-control-allow-private-network"] == "true"
    for answer in (
        before,
        app.post("/search", json={}, headers=BEARER | asked),
        app.post("/search", json={}, headers=asked),
    ):
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers
    assert "Retry-After" in before.headers["access-control-expose-headers"]


def test_other_sites_may_not() -> None:
    app = client(cors_origins=("https://shop.example",))
    for origin in ("https://evil.example", "https://shop.example.evil", "null"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert app.options("/search", headers=asked).status_code == 403
        answer = app.post("/search", json={}, headers=asked)
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["vary"] == "Origin"


def test_every_site_may_be_allowed() -> None:
    answer = client(cors_origins=("*",)).post("/search", json={}, headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


def test_connections_are_closed_while_draining() -> None:
    assert client().get("/health").headers.get("connection") != "close"
    assert TestClient(guarded(draining=lambda: True)).get("/health").headers["connection"] == "close"


# -- methods -----------------------------------------------------------------------------------------------------------


def test_head_is_get_without_the_body() -> None:
    head, get = client().head("/health"), client().get("/health")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]


def test_options_names_the_methods() -> None:
    answer = client().options("/search")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert client().options("/pictures/shop/3").headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_websocket_is_refused() -> None:
    with pytest.raises(WebSocketDisconnect) as refused, client().websocket_connect("/search"):
        pass
    assert refused.value.code == 1008


# -- ids and the access log --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "7f3e-12:4.b_C", "x" * 64])
def test_a_sane_request_id_is_kept(given: str) -> None:
    assert client().get("/health", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "<script>", "a\tb", "\u00e9"])
def test_another_one_is_made_anew(given: str) -> None:
    app = client()
    found = [
        app.get("/health", headers={"X-Request-ID": given.encode("latin-1")}).headers["x-request-id"] for _ in "12"
    ]
    assert given not in found
    assert found[0] != found[1]


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the access log says."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]  # a short handler
    before = ACCESS.handlers[:]
    ACCESS.handlers[:] = [handler]
    yield found
    ACCESS.handlers[:] = before


def test_one_line_of_json_for_each_request(lines: list[str]) -> None:
    app = client(access_log=True, token=TOKEN)
    body = {"query": "a private question"}
    app.post("/search?also=private", json=body, headers=BEARER | {"X-Request-ID": "id-1"})
    app.get("/" + "x" * 5000 + "%0a{}")
    app.get("/health")
    found = [json.loads(line) for line in lines]
    assert [(each["path"][:7], each["method"], each["status"]) for each in found] == [
        ("/search", "POST", 200),
        ("/xxxxxx", "GET", 401),
        ("/health", "GET", 200),
    ]
    assert set(found[0]) == {"time", "method", "path", "status", "milliseconds", "bytes", "client", "request_id"}
    assert found[0]["request_id"] == "id-1"
    assert found[0]["bytes"] == len(b'{"bytes":30}')
    assert found[0]["client"] == "testclient"
    assert found[0]["milliseconds"] >= 0
    assert len(found[1]["path"]) <= 200
    assert not any("private" in line or TOKEN in line or "\n" in line for line in lines)


def test_nothing_is_logged_by_default(lines: list[str]) -> None:
    client().get("/health")
    assert not lines


# -- what it counts, and what it costs ---------------------------------------------------------------------------------


def test_unknown_paths_and_methods_are_counted_as_other() -> None:
    telemetry = Telemetry()
    app = client(telemetry)
    for path in ("/wp-login.php", "/.env", "/pictures/a", "/page/a/b", "/pictures/{bundle}/{row}x/y"):
        app.get(path)
    app.request("PROPFIND", "/search")
    app.get("/pictures/emoji/17")
    labels = {(s.labels["method"], s.labels["path"]) for s in telemetry.samples() if s.name == "dssm_requests_total"}
    assert labels == {("GET", "other"), ("other", "/search"), ("GET", "/pictures/{bundle}/{row}")}


def test_it_costs_little() -> None:
    """Processor time of a request in the guard alone: tens of microseconds, with room for a slow machine."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def run() -> float:
        middleware = Guard(app, ServingSettings(BUNDLES, token=TOKEN), Telemetry())
        scope = scope_of(headers={"content-length": "2", "authorization": f"Bearer {TOKEN}"})
        times = []
        for _ in range(5):
            began = time.process_time()
            for _ in range(200):
                await middleware(scope, receive, send)
            times.append((time.process_time() - began) / 200)
        return min(times)

    assert asyncio.run(run()) < 300e-6
