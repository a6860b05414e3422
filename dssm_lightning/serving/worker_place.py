"""A worker process as the process sees it that started it."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess

from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.serving.worker import run_worker


class WorkerPlace:
    """One place for a worker, in which another process may follow."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: SpawnProcess | None = None
        self.pipe: Pipe | None = None
        self.is_ready = False
        self.failure: str | None = None  # why it could not start
        self.began = 0.0
        self.ends = 0  # in a row
        self.starts_at = 0.0

    def start(self, settings: ServingSettings, listener: socket.socket) -> None:
        """Start a process."""
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (settings, listener, theirs, self.number)
        self.process = context.Process(target=run_worker, args=arguments, name=f"worker {self.number}", daemon=True)
        self.is_ready, self.failure, self.began = False, None, time.monotonic()
        self.process.start()
        theirs.close()

    def send(self, word: str) -> None:
        """Say something to the process, if there is one."""
        if self.pipe is not None:
            with contextlib.suppress(OSError):  # it has ended
                self.pipe.send(word)

    def clear(self) -> str:
        """Forget the process that has ended; return how it ended."""
        assert self.process is not None
        self.process.join()
        code = self.process.exitcode or 0
        described = f"status {code}" if code >= 0 else signal.Signals(-code).name
        self.process.close()
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None
        return described
