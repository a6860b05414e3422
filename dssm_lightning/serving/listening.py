"""Where a server listens, and what it says of that."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import LOGGER

BACKLOG = 2_048
"""Connections that the system makes before the server accepts them."""
_TRIED = 100
_ATTACH_FILTER = 26
_NO_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""A filter of packets of TCP: loads the flags, masks SYN and ACK, and drops what is only SYN."""
_Address = tuple[Any, ...]
_OTHER_FILES = 128


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, so that nobody else takes the port while the bundles are opened.

    Args:
        host: an address of this machine, or a name of one.
        port: 0 = any free one.

    Raises:
        UserError: the port is in use (another one is named), or not allowed; no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"serve: --host is {host!r}, which is no address: {error}") from error
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    try:
        return _listening(family, address)
    except PermissionError as error:
        raise UserError(f"serve: --port is {port}, which needs privileges; ports from 1024 on do not") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            free = _free_port(family, address)
            other = f"{free} is free: --port {free}" if free else "--port 0 takes any free one"
            raise UserError(f"serve: --port {port} is in use on {host}; {other}") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(
                f"serve: --host is {host!r}, which is no address of this machine; 127.0.0.1 is for this machine only, "
                "0.0.0.0 for all that can reach it"
            ) from error
        raise UserError(f"serve: cannot listen on {host}, port {port}: {error}") from error


def _listening(family: int, address: _Address) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would share the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _free_port(family: int, address: _Address) -> int | None:
    """Return the next free port; None if there is none near."""
    host, port, *rest = address
    for other in range(int(port) + 1, min(int(port) + _TRIED, 65_536)):
        try:
            _listening(family, (host, other, *rest)).close()
        except OSError:
            continue
        return other
    return None


def admit_no_more(listener: socket.socket) -> None:
    """Let the system begin no more connections, and complete those that it has begun, so that all can be accepted.

    Closing the socket resets each connection that nobody has accepted, and one may arrive between the last look and the
    closing. From now on the beginning of a connection (SYN) is dropped. Its client tries again after a second, and
    finds the next server or none. Only Linux has such filters.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    described = struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
    with contextlib.suppress(OSError):  # not in every sandbox
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, described)


def allow_connections(most: int) -> None:
    """Let this process open as many files as its connections need, or say that it cannot."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = most + most // 8 + _OTHER_FILES
    allowed, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (allowed, hard) and hard < needed:
        LOGGER.warning(f"--max_connections {most} needs {needed} open files, and the system allows {hard}: ulimit -n")
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        target = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def announce(settings: ServingSettings, listener: socket.socket, served: Sequence[str]) -> None:
    """Log the addresses, and who can reach them.

    Args:
        settings: of the server.
        listener: where it listens.
        served: a description of each bundle.
    """
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    here = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    LOGGER.info(f"serving {', '.join(served)}")
    LOGGER.info(f"the page: http://{here}:{port}/   the API: http://{here}:{port}/docs")
    asks = "clients need the token, except for the page, /docs, /health and /ready"
    if settings.is_loopback:
        LOGGER.info(f"only this machine can reach it{'; ' + asks if settings.token else ''}")
    elif settings.token:
        LOGGER.info(f"every machine that can reach {host}:{port} may ask; {asks}; the connection is not encrypted")
    else:
        LOGGER.warning(
            f"WARNING: there is no token: everyone who can reach {host}:{port} can search, and read what candidates "
            "show. Set DSSM_API_TOKEN, or leave --host out"
        )
