"""Several processes that share one listening socket, and the one that starts, watches and ends them.

The arrays of a bundle are mapped files, which the system keeps once for all processes. Workers are spawned, not forked:
they share no threads and no state, and the settings are pickled. Each has a pipe to the process that started it. When
that process is gone, the pipe ends, and so do they.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import connection
from types import FrameType
from typing import Any

from dssm_lightning.serving.graceful_server import HANGUP, INTERRUPTED, SIGNALS, has_terminal
from dssm_lightning.serving.listening import admit_no_more, announce
from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.serving.telemetry import FOLDER
from dssm_lightning.serving.worker import FAILED, READY, RELOAD, STOP
from dssm_lightning.serving.worker_place import WorkerPlace
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import LOGGER

LONGEST_WAIT_S = 30.0
"""Seconds between two starts of a worker that ends again and again, after 1, 2, 4, …"""
STEADY_S = 60.0
"""Seconds after which a worker that ends is started again soon."""
KILLED_AFTER_S = 15.0
"""Seconds beyond the time limit of requests after which a worker that does not stop is killed."""


class Supervisor:
    """Starts workers, starts another one in the place of one that ended, and passes signals on.

    Args:
        settings: of each worker, and how many there are.
        listener: the socket that they share. It is closed when they are to stop.
    """

    def __init__(self, settings: ServingSettings, listener: socket.socket) -> None:
        self._settings, self._listener = settings, listener
        self._workers = [WorkerPlace(number) for number in range(settings.workers)]
        self._heard: list[int] = []
        self._had_terminal = has_terminal()
        self._is_announced = self._is_stopping = False
        self._killed_at = float("inf")
        self._failure: str | None = None

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C.

        Raises:
            UserError: the workers cannot start.
        """
        with _metrics_folder(), self._signals() as wake:
            try:
                for worker in self._workers:
                    worker.start(self._settings, self._listener)
                while any(worker.process for worker in self._workers) or not self._is_stopping:
                    self._wait(wake)
            finally:
                self._kill()
        if self._failure is not None:
            raise UserError(self._failure)

    # -- events --------------------------------------------------------------------------------------------------------

    def _wait(self, wake: socket.socket) -> None:
        now = time.monotonic()
        waiting = [] if self._is_stopping else [each.starts_at for each in self._workers if each.process is None]
        until = min([self._killed_at, now + 60, *waiting])
        sources: dict[Any, WorkerPlace | None] = {wake: None}
        for worker in self._workers:
            if worker.process is not None:
                sources[worker.process.sentinel] = worker
            if worker.pipe is not None:
                sources[worker.pipe] = worker
        happened = connection.wait(list(sources), max(0.0, until - now))
        if wake in happened:
            wake.recv(64)
        for number in self._heard[:]:
            self._heard.remove(number)
            self._signalled(number)
        for source in happened:
            heard = sources[source]
            if heard is not None and source is heard.pipe:
                self._hear(heard)
        for worker in self._workers:
            if worker.process is not None and worker.process.exitcode is not None:
                self._ended(worker)
        self._start_again()
        if time.monotonic() > self._killed_at:
            self._kill()

    def _hear(self, worker: WorkerPlace) -> None:
        """Take what a worker says."""
        assert worker.pipe is not None
        try:
            word, value = worker.pipe.recv()
        except (EOFError, OSError):
            worker.pipe.close()
            worker.pipe = None
            return
        if word == READY:
            worker.is_ready = True
            if not self._is_announced and all(each.is_ready for each in self._workers):
                self._is_announced = True
                announce(self._settings, self._listener, value)
                LOGGER.info(f"{len(self._workers)} workers")
        elif word == FAILED:
            worker.failure = value
        elif word == RELOAD:
            for other in self._workers:
                if other is not worker:
                    other.send(RELOAD)

    def _ended(self, worker: WorkerPlace) -> None:
        """Plan another process in the place of one that has ended, or give up."""
        process, lived = worker.process, time.monotonic() - worker.began
        assert process is not None
        while worker.pipe is not None and worker.pipe.poll():
            self._hear(worker)
        _forget_metrics(process.pid)
        described = f"worker {worker.number} (process {process.pid}) ended by {worker.clear()}"
        if self._is_stopping:
            return
        if not self._is_announced and not worker.is_ready:
            self._failure = worker.failure or f"serve: {described} before it could answer"
            self._stop()
            self._kill()
            return
        worker.ends = 1 if lived > STEADY_S else worker.ends + 1
        wait = min(2.0 ** (worker.ends - 1), LONGEST_WAIT_S)
        worker.starts_at = time.monotonic() + wait
        LOGGER.error(f"{described}{f': {worker.failure}' if worker.failure else ''}; it is started again in {wait:g} s")

    def _start_again(self) -> None:
        for worker in self._workers:
            if worker.process is None and not self._is_stopping and worker.starts_at <= time.monotonic():
                worker.start(self._settings, self._listener)

    def _signalled(self, number: int) -> None:
        if number == HANGUP and not (self._had_terminal and not has_terminal()):
            for worker in self._workers:
                worker.send(RELOAD)
        elif number == signal.SIGINT and self._is_stopping:
            self._kill()
            os._exit(INTERRUPTED)
        else:
            self._stop()

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._killed_at = time.monotonic() + self._settings.limits.timeout + KILLED_AFTER_S
            admit_no_more(self._listener)
            self._listener.close()  # the last worker that closes it answers what waits in it
            for worker in self._workers:
                worker.send(STOP)

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()
                worker.clear()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Note signals; yield a socket that can be read when there is one."""

        def note(number: int, frame: FrameType | None) -> None:
            self._heard.append(number)

        reader, writer = socket.socketpair()
        writer.setblocking(False)
        before = {number: signal.signal(number, note) for number in SIGNALS}
        wakes = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakes)
            for number, handler in before.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()


@contextlib.contextmanager
def _metrics_folder() -> Iterator[None]:
    """Keep the metrics of all workers in a folder, which is removed at the end."""
    given = os.environ.get(FOLDER)
    with tempfile.TemporaryDirectory(prefix="dssm-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            if given is None:
                del os.environ[FOLDER]
            else:
                os.environ[FOLDER] = given


def _forget_metrics(process: int | None) -> None:
    """Let the gauges of a process that has ended count no more."""
    from prometheus_client import multiprocess

    forget: Any = multiprocess.mark_process_dead
    forget(process)
