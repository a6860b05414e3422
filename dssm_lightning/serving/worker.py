"""What one of several server processes does."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection as Pipe

from dssm_lightning.serving.graceful_server import HANGUP, GracefulServer
from dssm_lightning.serving.process import Reloading, descriptions, make_server
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import show_messages

READY, FAILED, RELOAD, STOP = "ready", "failed", "reload", "stop"
"""What a worker and the process that started it say to each other."""


def run_worker(settings: ServingSettings, listener: socket.socket, pipe: Pipe, number: int) -> None:
    """Serve until the process that started this one says so, or ends.

    Args:
        settings: of the server.
        listener: the socket that all workers share.
        pipe: to the process that started this one.
        number: of the worker, from 0.
    """
    for ignored in (signal.SIGINT, HANGUP):  # a terminal sends them to all processes; the first one passes them on
        if ignored >= 0:
            signal.signal(ignored, signal.SIG_IGN)
    show_messages()
    serving = Serving(settings)
    try:
        serving.open()
    except (UserError, OSError) as error:
        _say(pipe, FAILED, str(error))
        sys.exit(1)
    serving.tell_others = lambda: _say(pipe, RELOAD)
    server = make_server(
        serving,
        lambda: _say(pipe, READY, descriptions(serving)),
        (signal.SIGTERM,),
        tells=number == 0,
        is_alone=False,
    )
    reloading = Reloading(serving)
    threading.Thread(target=_listen, args=(pipe, server, reloading), daemon=True, name="commands").start()
    server.run([listener])
    pipe.close()


def _listen(pipe: Pipe, server: GracefulServer, reloading: Reloading) -> None:
    """Do what the other side says. The end of the pipe is the end of the process that started this one."""
    with contextlib.suppress(EOFError, OSError):
        while (word := pipe.recv()) != STOP:
            if word == RELOAD:
                server.soon(reloading.request)
    server.soon(server.stop)


def _say(pipe: Pipe, word: str, value: object = None) -> None:
    with contextlib.suppress(OSError):  # the other side is gone; the thread that listens to it will say so
        pipe.send((word, value))
