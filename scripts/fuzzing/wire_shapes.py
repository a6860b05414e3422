"""What goes over a socket and is no client's: cut, slow, pipelined, oversized, ambiguous, or no HTTP at all."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fuzzing.framings import ambiguous, chunked, odd_chunks
from fuzzing.mutations import changed
from fuzzing.plans import CLOSE, HALF, JSON, RESET, WAIT, Plan, Request

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
FILLER = b"a" * (8 << 20)
STRANGE = (
    *(
        b"",
        b"\0",
        b"\r\n" * 50,
        b"\n",
        b"x",
        b"GET",
        b"GET /\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\xff" * 99,
    ),
    *(
        b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ),
    *(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
        b"SSH-2.0-x\r\n",
    ),
    *(
        b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(9),
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    *(
        b"GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    *(
        b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"FOO /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEALTH.replace(b"\r\n", b"\n"),
    ),
    *(
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET  /health  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /h\0 HTTP/1.1\r\n\r\n",
    ),
    *(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    ),
    *(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    ),
    *(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: \x00\x01\x7f\r\n\r\n",
        b"GET /\xc3\xa9\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    *(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x00" * 20_000, b"{" * 20_000),
)
UPGRADES = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: upgrade\r\nUpgrade: TLS/1.0, \xff",
    b"Upgrade: websocket",
    b"Expect: 100-continue",
    b"Expect: 100-continue, x",
    b"Expect: 999",
    b"Expect:",
)


def _any(draw: random.Random, corpus: Sequence[Request]) -> bytes:
    return draw.choice(corpus).as_bytes()


def _end(draw: random.Random) -> str:
    return draw.choices((HALF, CLOSE, RESET), (8, 1, 1))[0]


def mutated(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Change bytes anywhere, in the head as well."""
    return Plan("changed bytes", (changed(draw, _any(draw, corpus)),), end=_end(draw))


def cut(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Stop at any byte; a few wait for what the server says to that."""
    data = _any(draw, corpus)
    end = draw.choices((HALF, CLOSE, RESET, WAIT), (40, 20, 20, 1))[0]
    return Plan("cut", (data[: draw.randrange(len(data))],), end=end)


def slow(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Send a few bytes at a time, to the end or not."""
    data = _any(draw, corpus)[:3_000]
    step = max(draw.choice((1, 2, 7)), len(data) // draw.choice((20, 60, 150)))
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    parts = parts[: draw.randint(1, len(parts))] if draw.random() < 0.3 else parts
    return Plan("slow", tuple(parts), pause=draw.choice((0.001, 0.01, 0.05)), end=draw.choice((HALF, WAIT, RESET)))


def pipelined(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Send several requests at once, in parts that end anywhere; all are answered."""
    count = draw.choice((2, 3, 5, 17, 40))
    data = b"".join(_any(draw, corpus) if draw.random() < 0.7 else HEALTH for _ in range(count))
    places = sorted(draw.randrange(len(data)) for _ in range(draw.choice((0, 0, 1, 3))))
    parts = [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]
    if draw.random() < 0.1:
        return Plan("pipelined", tuple(parts), count, end=draw.choice((CLOSE, RESET)))
    return Plan("pipelined", tuple(parts), count, count)


def oversized(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Send too much of something."""
    size = draw.choice((9_000, 65_000, 70_000, 200_000, 1_048_577, 3_000_000, 6_000_000))
    few = min(size, 1_100_000)
    data = draw.choice(
        (
            lambda: Request("GET", "/" + FILLER[:few].decode()).as_bytes(),
            lambda: Request("GET", "/health", {"X": FILLER[:few].decode()}).as_bytes(),
            lambda: Request("GET", "/health", {FILLER[:few].decode(): "x"}).as_bytes(),
            lambda: Request("GET", "/health").head(*(b"H%d: x" % n for n in range(few // 50))),
            lambda: Request("POST", "/search", JSON, b'{"query": "' + FILLER[:size] + b'"}').as_bytes(),
            lambda: Request("POST", "/search", JSON).head(b"Content-Length: %d" % (size * 10**9)) + FILLER[:size],
            lambda: Request("POST", "/encode", JSON, b'{"query": [' + b'"a",' * (few // 4) + b'"b"]}').as_bytes(),
            lambda: Request("POST", "/search", JSON, b"[" * few).as_bytes(),
            lambda: (
                Request("POST", "/search", JSON).head(b"Transfer-Encoding: chunked") + chunked(FILLER[:size], 5_000)
            ),
            lambda: Request("POST", "/search", JSON).head(b"Transfer-Encoding: chunked") + b"1\r\na\r\n" * (few // 6),
            lambda: FILLER[:size],
        )
    )()
    return Plan("oversized", (data,), end=_end(draw))


def badly_chunked(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Send a body in chunks, right or wrong."""
    request = draw.choice(corpus)
    if draw.random() < 0.3:
        size = draw.choice((1, 7, 100, 10_000))
        data = request.head(b"Transfer-Encoding: chunked") + chunked(request.body, size)
        return Plan("chunked", (data,), answers=1)
    return Plan(
        "chunked", (request.head(b"Transfer-Encoding: chunked") + odd_chunks(draw, request.body),), end=_end(draw)
    )


def smuggled(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Send a request whose end readers may see in different places, and another one in it."""
    return Plan("ambiguous length", (ambiguous(draw, draw.choice(corpus)),))


def strange(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Speak another protocol, or ask for one."""
    if draw.random() < 0.5:
        data = draw.choice(STRANGE)
        return Plan("other protocols", (data, draw.choice((b"", b"", data, HEALTH))), end=_end(draw))
    request = draw.choice(corpus)
    head = request.head(draw.choice(UPGRADES), b"Content-Length: %d" % len(request.body))
    return Plan("other protocols", (head, request.body), pause=draw.choice((0, 0, 0.02)), end=_end(draw))


def dropped(draw: random.Random, corpus: Sequence[Request]) -> Plan:
    """Open a connection and leave, before or after a request whose answer nobody reads."""
    if draw.random() < 0.7:
        return Plan("connections dropped", (), requests=0, end=draw.choice((CLOSE, RESET, HALF)))
    large = Request("POST", "/search", JSON, b'{"query": "a", "k": 1000}').as_bytes()
    return Plan(
        "unread answers", (large * 4,), requests=4, end=draw.choice((CLOSE, RESET)), pause=draw.choice((0, 0.05))
    )
