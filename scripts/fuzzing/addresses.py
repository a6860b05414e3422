"""Requests with odd addresses, methods and headers, in a frame that is right."""

from __future__ import annotations

import random

from fuzzing.plans import JSON, Request

PATHS = (
    *(
        "/",
        "/search",
        "/similar",
        "/candidates",
        "/encode",
        "/score",
        "/embed",
        "/v1/embeddings",
        "/v1/models",
        "/health",
    ),
    *("/ready", "/info", "/metrics", "/reload", "/openapi.json", "/docs", "/docs/docs.js", "/docs/swagger-ui.css"),
    *("/page/app.js", "/pictures/{name}/0", "/pictures/{name}/1", "/v1/models/{name}", "/nothing", "/favicon.ico"),
)
TAILS = (
    *(
        "%",
        "%0",
        "%zz",
        "%00",
        "%ff",
        "%c0%ae",
        "%ed%a0%80",
        "%F4%90%80%80",
        "%2e%2e%2f",
        "%252e",
        "..%2f..%2fetc%2fpasswd",
    ),
    *(
        "/../../etc/passwd",
        "/./",
        "//",
        "/..;/",
        "\\..\\",
        ";a=b",
        ":candidate",
        ":x",
        "%3Acandidate",
        "+",
        "~",
        "*",
        "|",
        "^",
    ),
    *(
        "?",
        "?v",
        "?v=",
        "?v=%",
        "?v=%ff&v=1",
        "?" + "a=1&" * 900,
        "?" + "%00" * 90,
        "#x",
        "?#",
        "/-1",
        "/9999999999999999999",
    ),
    *(
        "/99999999999999999999999",
        "/1e3",
        "/%D9%A3",
        "/0x1",
        "/" + "a" * 3_000,
        "/" + "%F0%9F%98%80" * 200,
        "/" * 2_000,
    ),
)
METHODS = (
    *(
        "GET",
        "GET",
        "POST",
        "HEAD",
        "OPTIONS",
        "PUT",
        "DELETE",
        "PATCH",
        "TRACE",
        "PROPFIND",
        "MKCOL",
        "SEARCH",
        "LINK",
    ),
    *("M-SEARCH", "PURGE", "SOURCE", "QUERY"),
)
HEADERS = (
    *(
        ("Content-Type", "application/json; charset=utf-16"),
        ("Content-Type", "application/json;;;=\"'"),
        ("Content-Type", ""),
    ),
    *(
        ("Content-Type", "text/plain"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("Content-Type", "\u00ff" * 50),
    ),
    *(
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "identity"),
        ("Accept", "image/*;q=x"),
        ("Accept-Encoding", "br"),
    ),
    *(
        ("Authorization", "Bearer"),
        ("Authorization", "Bearer \u00e9"),
        ("Authorization", "Basic eA=="),
        ("Cookie", "a=b; " * 300),
    ),
    *(
        ("Origin", "null"),
        ("Origin", "https://x.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Referer", "\u0001"),
    ),
    *(
        ("X-Request-ID", "a" * 65),
        ("X-Request-ID", "a b"),
        ("X-Request-ID", "\u00e9"),
        ("X-Forwarded-For", "1.2.3.4, x, [::"),
    ),
    *(("X-Forwarded-Proto", "javascript"), ("Forwarded", "for=_x"), ("Range", "bytes=9-1,-5"), ("If-None-Match", "*")),
    *(("If-Modified-Since", "yesterday"), ("Connection", "close"), ("Connection", "keep-alive, x"), ("TE", "trailers")),
    *(("Keep-Alive", "timeout=-1"), ("Pragma", "x"), ("Sec-Fetch-Site", "cross-site"), ("User-Agent", "")),
)


def odd_address(draw: random.Random, name: str) -> Request:
    """Return a request.

    Args:
        draw: the source of chance.
        name: of a bundle.
    """
    path = draw.choice(PATHS).replace("{name}", name)
    if draw.random() < 0.6:
        tails = draw.choices(TAILS, k=draw.choice((1, 1, 2)))
        path = path + "".join(tails) if draw.random() < 0.8 else path[: draw.randint(1, len(path))] + tails[0]
    method = draw.choice(METHODS)
    headers = dict(draw.choices(HEADERS, k=draw.choice((0, 1, 2, 5))))
    body = draw.choice((b"", b"{}", b"null", b'{"query": "a"}', b"\xff\xfe", b"[" * 5_000))
    if method in ("POST", "PUT", "PATCH") and draw.random() < 0.5:
        headers = {**headers, **JSON}
    return Request(method, path.replace(" ", "%20"), headers, body if method != "GET" else b"")
