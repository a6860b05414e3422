"""The settings of a server: which bundles it serves, where it listens, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from dssm_lightning.utils.errors import UserError, is_number, require_positive, require_whole

OWNER = "serve"
"""How messages name the settings' owner."""
LONGEST_TIME = 86_400.0
"""Seconds: no time limit is longer than a day."""


@dataclass(frozen=True)
class Limits:
    """The most that one request, and all requests together, may ask for. Each is an option of ``serve``.

    Raises:
        UserError: a limit that is no whole number from 1 on, or a time that is not positive, or longer than a day.

    Example:
        >>> Limits(max_k=50).max_k
        50
        >>> Limits(max_k=0)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: serve: --max_k is 0; it must be at least 1
    """

    max_body: int = 1 << 20
    """Bytes of a body: 413."""
    max_batch: int = 256
    """Queries, candidates or texts of one request: 413."""
    max_batch_size: int = 64
    """Queries of several requests that are answered together."""
    max_k: int = 1_000
    """Answers of one query: 422."""
    max_answers: int = 100_000
    """Answers of one request, of all its queries together: 413."""
    max_text: int = 10_000
    """Characters of one text: 422."""
    max_pixels: int = 16_000_000
    """Pixels of one picture: 422."""
    max_history: int = 1_000
    """Entries of one list, such as a history, and of ``exclude``: 422."""
    max_queue: int = 1_024
    """Queries that wait: 429."""
    timeout: float = 30.0
    """Seconds from a request to its answer: 504."""
    max_connections: int = 1_024
    """Open connections: 503."""
    header_timeout: float = 10.0
    """Seconds until the headers of a request have arrived: 408."""
    body_timeout: float = 30.0
    """Seconds until a body has arrived: 408."""
    keep_alive: float = 60.0
    """Seconds that an idle connection stays open."""
    max_header_bytes: int = 1 << 16
    """Bytes of the headers: 431."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None:
                raise UserError(f"{OWNER}: --{each.name} is None; it must be a number")
            if isinstance(each.default, int):
                require_whole(OWNER, f"--{each.name}", value)
            else:
                require_positive(OWNER, f"--{each.name}", value)
                if not (is_number(value) and value <= LONGEST_TIME):
                    raise UserError(f"{OWNER}: --{each.name} is {value!r}; it must be seconds, at most 86,400")


class NamedBundle(NamedTuple):
    """A bundle, and the name by which requests ask for it."""

    name: str
    place: str
    """A folder, or a URL that fsspec knows."""


@dataclass(frozen=True)
class ServingSettings:
    """The settings of a server. They can be pickled, so that every worker process gets the same.

    Raises:
        UserError: no bundle, or two of one name; an empty token; a port or a number of workers or threads that is none.

    Example:
        >>> settings = ServingSettings(name_bundles(["runs/emoji", "other=runs/tldr"]))
        >>> [bundle.name for bundle in settings.bundles], settings.port
        (['emoji', 'other'], 8000)
    """

    bundles: tuple[NamedBundle, ...]
    """The first one answers requests that name none."""
    limits: Limits = field(default_factory=Limits)
    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free port."""
    workers: int = 1
    """Processes."""
    threads: int = 1
    """Threads of one call of a tower."""
    token: str | None = field(default=None, repr=False)
    """What clients send as ``Authorization: Bearer …``; None: nothing is asked for."""
    cors_origins: tuple[str, ...] = ()
    """Web sites, such as ``https://shop.example``, whose pages may ask this server."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients may address a server without a token on loopback, beside ``localhost`` and ``host``."""
    access_log: bool = False
    """Log one line of JSON for each request."""
    verify: bool = True
    """Compare the checksums of all files whenever bundles are opened; otherwise names and sizes only."""

    def __post_init__(self) -> None:
        if not self.bundles:
            raise UserError(f"{OWNER}: --bundle is missing; give the folder of a bundle, which `export` writes")
        names = [bundle.name for bundle in self.bundles]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UserError(f"{OWNER}: --bundle: two bundles are named {twice[0]!r}; give name=folder")
        if self.token is not None and not self.token.strip():
            raise UserError("serve: DSSM_API_TOKEN is empty; set it to a long random text, or unset it")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and " " not in self.token):
            raise UserError("serve: DSSM_API_TOKEN has spaces or other characters that no header can carry")
        require_whole(OWNER, "--port", self.port, 0)
        if self.port > 65_535:
            raise UserError(f"{OWNER}: --port is {self.port}; it must be a whole number from 0 to 65,535")
        require_whole(OWNER, "--workers", self.workers)
        require_whole(OWNER, "--threads", self.threads)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def name_bundles(values: Sequence[str]) -> tuple[NamedBundle, ...]:
    """Return the bundles that ``--bundle`` gives: ``name=folder``, or a folder, whose name is the bundle's.

    A folder's name that is taken gets a number.

    Raises:
        UserError: an empty value, or a name that cannot stand in an address.

    Example:
        >>> [bundle.name for bundle in name_bundles(["a/emoji", "b/emoji", "new=c/emoji"])]
        ['emoji', 'emoji-2', 'new']
    """
    explicit = {name for name, _ in map(_split, values) if name}
    found: list[NamedBundle] = []
    for value in values:
        name, place = _split(value)
        if name is None:
            name = _free_name(place, explicit | {bundle.name for bundle in found})
        found.append(NamedBundle(name, place))
    return tuple(found)


def _split(value: str) -> tuple[str | None, str]:
    name, separator, place = value.partition("=")
    if not separator or "/" in name or "\\" in name:
        name, place = "", value
    if not place.strip() or (separator and place != value and not _is_name(name)):
        raise UserError(f"{OWNER}: --bundle is {value!r}; give a folder, or name=folder, of letters, digits, - _ and .")
    return name or None, place


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 100 and all(letter.isalnum() or letter in "-_." for letter in name)


def _free_name(place: str, taken: set[str]) -> str:
    folder = place.rstrip("/") if "://" in place else Path(place).resolve().name
    name = "".join(letter if _is_name(letter) else "-" for letter in folder.rpartition("/")[2])[:90] or "bundle"
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found
