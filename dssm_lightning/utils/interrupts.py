"""End a command on Ctrl-C and SIGTERM with one line, at any time, and within a bounded time.

Python runs a signal's handler between two steps of the main thread. A thread that waits in a library, for a large table
or for other processes, would not end. A second thread therefore hears of each signal, and ends the process if the main
thread has not done so after :data:`GRACE_S` seconds. This is safe: whatever is written appears whole or not at all.

A process that Lightning started as one of several also ends soon after the process that started it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from dssm_lightning.utils.console import write_line
from dssm_lightning.utils.logger import is_first_process

GRACE_S = 15.0
"""Seconds between a signal, or the end of the first process, and the end of this process by force."""
PARENT_ENDS_S = 5.0
"""Seconds that an error of this process waits to know whether it is but the end of the first process."""
PARENT = "DSSM_LIGHTNING_PARENT"
"""Environment variable with the process number of the command, which processes that it starts inherit."""
NAMES = {signal.SIGINT: "interrupted by Ctrl-C", signal.SIGTERM: "ended by SIGTERM"}


class _Ending:
    """What is known of the end of this process."""

    received: int | None = None
    """The first signal; None = no signal."""
    parent: int | None = None
    """The process of the command that started this one, if Lightning's launcher did."""
    waits_for_training = False
    """A fit ends between two batches, however long that takes, and is not ended by force."""


_ENDING = _Ending()


def wait_for_training(waits: bool) -> None:
    """Say whether a fit reacts to signals, which then has all the time that it needs."""
    _ENDING.waits_for_training = waits


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Run a command; on Ctrl-C or SIGTERM, exit with one line and the status 130 or 143.

    What the block has begun to write is removed on the way out. A second signal does not wait for that. Outside the
    main thread this does nothing, because only the main thread can handle signals.

    Raises:
        SystemExit: a signal ended the block. The process must end then, too: it is soon ended by force.

    Example:
        >>> with end_on_signals():
        ...     signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        False
    """
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return
    _ENDING.received, _ENDING.waits_for_training = None, False
    heard = [number for number in NAMES if signal.getsignal(number) != signal.SIG_IGN]  # as by nohup
    before = {number: signal.signal(number, _raise) for number in heard}
    writer = _start_watch()
    _stay_with_parent()
    try:
        yield
    except BaseException as error:
        _exit_if_interrupted(error)
        raise
    else:
        _exit_if_interrupted(None)  # a library may have swallowed the exception
    finally:
        if _ENDING.received is None:  # else all this stays until the process has ended
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(-1)
            writer.close()


def end_quietly() -> None:
    """For the very end of a process: no traceback of a late Ctrl-C, and the status of the signal that ended it.

    Python ends with another status if a Ctrl-C came while some modules of C were imported.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _ENDING.received is not None:
        logging.shutdown()
        with suppress(OSError, ValueError):  # nobody reads them any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(128 + _ENDING.received)


def _raise(number: int, frame: FrameType | None) -> None:
    if _ENDING.received is not None:
        _leave(number)
    _ENDING.received = number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _exit_if_interrupted(error: BaseException | None) -> None:
    """Exit if a signal was received, also by a fit, for which Lightning turns a Ctrl-C into the status 1."""
    ctrl_c = isinstance(error, SystemExit) and error.code == 1 and isinstance(error.__context__, KeyboardInterrupt)
    number = _ENDING.received or (signal.SIGINT if ctrl_c or isinstance(error, KeyboardInterrupt) else None)
    if number is None and isinstance(error, Exception) and _parent_ends():  # such as a connection that is broken
        number = signal.SIGTERM
    if number is not None:
        _ENDING.received = number
        _say(number)
        raise SystemExit(128 + number) from None


def _parent_ends() -> bool:
    """Return whether the process that started this one has ended, or ends soon: its connections are closed first."""
    end = time.monotonic() + PARENT_ENDS_S
    while _ENDING.parent == os.getppid() and time.monotonic() < end:
        time.sleep(0.05)
    return _ENDING.parent not in (None, os.getppid())


def _say(number: int) -> None:
    if is_first_process():
        with suppress(OSError, ValueError):  # nobody reads the standard error any more
            write_line(sys.stderr, NAMES[signal.Signals(number)])


def _leave(number: int) -> None:
    _say(number)
    os._exit(128 + number)


# -- threads -----------------------------------------------------------------------------------------------------------


def _start_watch() -> socket.socket:
    """Start the thread that hears of signals; it ends when the returned socket is closed."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="signals").start()
    return writer


def _forget() -> None:
    """In a forked process: do not report its signals to the thread of its parent."""
    with suppress(ValueError):  # not the main thread
        signal.set_wakeup_fd(-1)


def _watch(reader: socket.socket) -> None:
    with reader:
        while numbers := reader.recv(64):
            ours = [number for number in numbers if number in NAMES]
            if not ours or _ENDING.waits_for_training:
                continue
            time.sleep(GRACE_S)
            if not _ENDING.waits_for_training:
                _leave(ours[0])


def _stay_with_parent() -> None:
    """In a process that Lightning's launcher started: watch the process that started it."""
    parent = os.getppid()
    if os.environ.get(PARENT) == str(parent) and os.environ.get("LOCAL_RANK", "0") != "0":
        _ENDING.parent = parent
        threading.Thread(target=_end_after, args=(parent,), daemon=True, name="parent").start()
    else:
        os.environ[PARENT] = str(os.getpid())


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    time.sleep(GRACE_S)  # the first process may have ended because all is done
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    _leave(signal.SIGTERM)
