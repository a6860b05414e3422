"""CORS: pages of other web sites, which a browser keeps out unless the server allows them by ``--cors_origin``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.security_headers import Headers

ANY = "*"
_METHODS, _REQUEST_HEADERS = b"GET, HEAD, POST", b"Authorization, Content-Type, X-Request-ID"
_ANSWER_HEADERS = b"X-Request-ID, Retry-After"
_SECONDS = b"600"


class CrossOrigin:
    """Answers what browsers ask before and after a page of another site sends a request.

    Args:
        origins: the sites, such as ``https://shop.example``; ``*`` = every site; none = no site.

    Example:
        >>> sites = CrossOrigin(["https://shop.example"])
        >>> sites.headers({b"origin": b"https://evil.example"})
        [(b'vary', b'Origin')]
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)

    def headers(self, request: Mapping[bytes, bytes]) -> Headers:
        """Return the headers that an answer to a request needs."""
        if not self._origins:
            return []
        origin = request.get(b"origin")
        if self._any:
            allowed = b"*"
        elif origin is not None and origin.lower() in self._origins:
            allowed = origin
        else:
            return [(b"vary", b"Origin")]
        found = [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _ANSWER_HEADERS)]
        return found if self._any else [*found, (b"vary", b"Origin")]

    @staticmethod
    def is_preflight(method: str, request: Mapping[bytes, bytes]) -> bool:
        """Return whether a browser asks whether it may send a request of another site."""
        return method == "OPTIONS" and b"origin" in request and b"access-control-request-method" in request

    def preflight(self, request: Mapping[bytes, bytes]) -> Headers:
        """Return the headers that let the request of another site through, beside :meth:`headers`.

        Raises:
            RequestError: 403, the site is not allowed.
        """
        if not (self._any or request[b"origin"].lower() in self._origins):
            origin = request[b"origin"][:100].decode("latin-1")
            raise RequestError(403, f"pages of {origin!r} may not ask this server; allow them by --cors_origin")
        found = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", _SECONDS),
        ]
        if request.get(b"access-control-request-private-network") == b"true":
            found.append((b"access-control-allow-private-network", b"true"))
        return found
