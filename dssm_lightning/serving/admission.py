"""What is refused by a request's headers alone, before its body is read."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.settings import ServingSettings

Names = Mapping[bytes, bytes]
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs"})
"""What GET and HEAD answer without the token: static files, and whether the server lives."""
OPEN_PREFIXES = ("/page/", "/docs/")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_JSON = b"application/json"


class Admission:
    """Decides by the headers of a request whether it is let in.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._token = None if settings.token is None else settings.token.encode()
        self._max_body = settings.limits.max_body
        # A page of another site can make its own name point to this machine, and then asks as the same origin.
        self._checks_host = self._token is None and settings.is_loopback
        self._hosts = _LOOPBACK | {settings.host.lower()} | {name.lower() for name in settings.allowed_hosts}

    def require(self, method: str, path: str, headers: Names, server: str | None) -> None:
        """Refuse a request that is not let in.

        Args:
            method: of HTTP.
            path: of the request.
            headers: by their names in lower case.
            server: the address at which the connection arrived.

        Raises:
            RequestError: 401 without the token; 403 for a foreign name of the server; 413 for a body that is announced
                as too long; 415 for a body that is no plain JSON.
        """
        if self._checks_host:
            self._require_host(headers, server)
        if self._token is not None and not _is_open(method, path):
            self._require_token(headers, self._token)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._max_body:
            raise too_large(self._max_body, f"{int(length[:20]):,} bytes")
        if method == "POST" and (length != b"0" or b"transfer-encoding" in headers):
            _require_json(headers)

    def _require_host(self, headers: Names, server: str | None) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name not in self._hosts and name != (server or "").lower():
            raise RequestError(
                403,
                f"the header Host is {host[:100]!r}; a server without a token that listens on this machine alone "
                "answers to localhost: set DSSM_API_TOKEN, or allow the name by --allowed_host",
                "wrong_host",
            )

    @staticmethod
    def _require_token(headers: Names, token: bytes) -> None:
        given = headers.get(b"authorization")
        if given is None:
            raise _unauthorized("the header `Authorization: Bearer …` is missing")
        scheme, _, value = given.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(value.strip(), token):
            raise _unauthorized("the header `Authorization` does not hold this server's token")


def _is_open(method: str, path: str) -> bool:
    return method in ("GET", "HEAD") and (path in OPEN_PATHS or path.startswith(OPEN_PREFIXES))


def too_large(most: int, found: str = "more bytes than that") -> RequestError:
    """Return the error for a body that is too long."""
    return RequestError(413, f"at most {most:,} bytes of a body are read (--max_body); this one has {found}")


def _unauthorized(message: str) -> RequestError:
    return RequestError(401, message, headers={"WWW-Authenticate": 'Bearer realm="dssm-lightning"'})


def _require_json(headers: Names) -> None:
    """Refuse a body that is no plain JSON in UTF-8; that also keeps forms of other web sites out."""
    given = headers.get(b"content-type", b"")
    media, *parameters = given.lower().split(b";")
    if media.strip() != _JSON:
        shown = given[:100].decode("latin-1")
        raise RequestError(415, f"the header Content-Type is {shown!r}; it must be application/json")
    for parameter in parameters:
        name, _, value = parameter.strip().partition(b"=")
        if name == b"charset" and value.strip(b"\"' ") not in (b"utf-8", b"utf8", b"us-ascii"):
            raise RequestError(415, f"the charset is {value[:40].decode('latin-1')!r}; JSON is read as utf-8")
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding not in (b"", b"identity"):
        shown = coding[:40].decode("latin-1")
        raise RequestError(415, f"the header Content-Encoding is {shown!r}; send the body uncompressed")
