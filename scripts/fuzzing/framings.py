"""Bodies in chunks, and requests whose end is in doubt."""

from __future__ import annotations

import random

from fuzzing.plans import Request

SMUGGLED = b"GET /nothing-smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIZES = (
    *(
        b"-1",
        b"+5",
        b"0x5",
        b"5 ",
        b" 5",
        b"g",
        b"",
        b";",
        b"5;a=b",
        b"5;a=" + b"x" * 20_000,
        b"f" * 15,
        b"f" * 16,
        b"f" * 17,
    ),
    *(
        b"7fffffffffffffff",
        b"8000000000000000",
        b"00000000000000000000005",
        b"5\0",
        b"\xff",
        b"5\n",
        b"5\r",
        b"\xd9\xa5",
    ),
)
TRAILERS = (
    b"",
    b"A: b\r\n",
    b"Content-Length: 5\r\n",
    b"Host: x\r\n",
    b"A: " + b"x" * 90_000 + b"\r\n",
    b"no colon\r\n",
    b"A: b\r\n" * 5_000,
)
FRAMES = (
    *(
        (b"Content-Length: %(n)d", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: %(n)d"),
    ),
    *((b"Content-Length: %(n)d", b"Content-Length: 0"), (b"Content-Length: 0", b"Content-Length: %(n)d")),
    *(
        (b"Content-Length: %(n)d", b"Content-Length: %(n)d"),
        (b"Content-Length: %(n)d, %(n)d"),
        (b"Content-Length: %(n)d, 0",),
    ),
    *(
        (b"Content-Length: +%(n)d",),
        (b"Content-Length: -1",),
        (b"Content-Length: 0x5",),
        (b"Content-Length:",),
        (b"Content-Length: 5 5",),
    ),
    *(
        (b"Content-Length: 99999999999999999999",),
        (b"Content-Length: 18446744073709551617",),
        (b"Content-Length : %(n)d",),
    ),
    *(
        (b"Content-Length: %(n)d\0",),
        (b"Content-Length: \xd9\xa5",),
        (b"Content-Length: %(n)d.0",),
        (b"Content_Length: %(n)d",),
    ),
    *((b"Transfer-Encoding: xchunked",), (b"Transfer-Encoding: chunked, identity",), (b"Transfer-Encoding: identity",)),
    *(
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding : chunked",),
    ),
    *((b"Transfer-Encoding:\x0bchunked",), (b"Transfer-Encoding:\tchunked",), (b"Transfer-Encoding:\r\n chunked",)),
    *(
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
    ),
    *(
        (b"A: b\nTransfer-Encoding: chunked", b"Content-Length: %(n)d"),
        (b"A: b\rContent-Length: 0", b"Content-Length: %(n)d"),
    ),
    *(
        (b"Transfer-Encoding: Chunked", b"Content-Length: %(n)d"),
        (b'Transfer-Encoding: "chunked"',),
        (b"Transfer-Encoding: chunked;x",),
    ),
    *(
        (b"Connection: Content-Length", b"Content-Length: %(n)d"),
        (b"Trailer: Content-Length", b"Transfer-Encoding: chunked"),
    ),
)
FRAMES = tuple(frame if isinstance(frame, tuple) else (frame,) for frame in FRAMES)


def chunked(body: bytes, size: int) -> bytes:
    """Return a body in chunks of some bytes."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def odd_chunks(draw: random.Random, body: bytes) -> bytes:
    """Return a body in chunks with something wrong, or unusual."""
    whole = chunked(body, draw.choice((1, 5, 100)))
    return draw.choice(
        (
            lambda: draw.choice(SIZES) + b"\r\n" + whole,
            lambda: whole[:-5] + draw.choice(SIZES) + b"\r\n\r\n",
            lambda: whole[:-2] + draw.choice(TRAILERS) + draw.choice((b"\r\n", b"\n", b"")),
            lambda: whole.replace(b"\r\n", b"\n"),
            lambda: whole[: draw.randrange(len(whole))],
            lambda: whole + SMUGGLED,
            lambda: b"3\r\nabcd\r\n" + whole,
        )
    )()


def ambiguous(draw: random.Random, request: Request) -> bytes:
    """Return a request with headers of length that contradict each other or themselves."""
    frame = draw.choice(FRAMES)
    body = draw.choice(
        (request.body, b"0\r\n\r\n" + SMUGGLED, chunked(request.body, 50) + SMUGGLED, request.body + SMUGGLED)
    )
    head = request.head(*(line.replace(b"%(n)d", b"%d" % len(body)) for line in frame))
    return head + body + draw.choice((b"", SMUGGLED))
