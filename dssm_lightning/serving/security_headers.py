"""The headers that every answer carries, so that a browser trusts it with as little as possible."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]

_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    f"{_POLICY}"
)
_ANSWER = f"default-src 'none'; {_POLICY}"
_ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


def _with(policy: str, *others: tuple[bytes, bytes]) -> Headers:
    return [*_ALWAYS, (b"content-security-policy", policy.encode()), *others]


_OF_PAGE, _OF_ANSWER = _with(_PAGE), _with(_ANSWER)
_OF_POST = _with(_ANSWER, (b"cache-control", b"no-store"))


def security_headers(method: str, path: str) -> Headers:
    """Return the headers of the answer to a request; do not change the list.

    Example:
        >>> dict(security_headers("POST", "/search"))[b"cache-control"]
        b'no-store'
    """
    if method == "POST":
        return _OF_POST
    return _OF_PAGE if path in ("/", "/docs") else _OF_ANSWER
