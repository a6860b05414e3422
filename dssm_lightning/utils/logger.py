"""The logger of the package, ``dssm_lightning``. Only the first of several processes logs."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dssm_lightning.utils.console import printable, write_line

LOGGER = logging.getLogger("dssm_lightning")
_PROCESS_NUMBERS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Environment variables in which launchers store the number of a process, before `torch.distributed` is set up."""


def is_first_process() -> bool:
    """Return whether this is process 0 of the job, or the only process."""
    dist = sys.modules.get("torch.distributed")  # not imported here: some commands need no torch
    if dist is not None and dist.is_available() and dist.is_initialized():
        return bool(dist.get_rank() == 0)
    return all(os.environ.get(name, "0") == "0" for name in _PROCESS_NUMBERS)


def log_info(message: str) -> None:
    """Log a message once, in the first process."""
    if is_first_process():
        LOGGER.info(message)


@contextmanager
def without_repeats() -> Iterator[None]:
    """Log each message once within the block, as where the same tables are read twice."""
    logged: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in logged
        logged.add(message)
        return new

    LOGGER.addFilter(is_new)
    try:
        yield
    finally:
        LOGGER.removeFilter(is_new)


def log_file(about: str, path: str | Path) -> None:
    """Log which file has been written: the standard output holds what was asked for, and nothing else.

    Args:
        about: what the file holds, such as ``metrics``.
        path: the file.
    """
    log_info(f"{about}: {path}")


def warn(message: str) -> None:
    """Emit a ``UserWarning``, in the first process only."""
    if is_first_process():
        warnings.warn(printable(message), stacklevel=3)


def show_messages() -> None:
    """Send messages of level INFO to the standard error, one line each, unless the user has set up logging."""
    if not LOGGER.handlers and not logging.getLogger().handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        LOGGER.addHandler(handler)
    if LOGGER.level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)


class _StandardError(logging.Handler):
    """Write to the current ``sys.stderr``, which a test or a notebook replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(sys.stderr, self.format(record))
