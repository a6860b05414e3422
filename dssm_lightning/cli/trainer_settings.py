"""The settings of a trainer: what is refused is one line that names the setting."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ProgressBar

from dssm_lightning.utils.errors import UserError

_PROBLEM = re.compile(r"Problem with given class_path '([^']+)':\s+(\S.*)")

# Lightning's Timer has a default that is a text and an Enum, which jsonargparse cannot write into a config.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))


@contextmanager
def trainer_errors(settings: Any) -> Iterator[None]:
    """Turn the errors of Lightning's ``Trainer`` into a single line that names the requested settings.

    Args:
        settings: the trainer's section of the config.

    Raises:
        UserError: the trainer refuses its settings.
    """
    if settings.barebones:
        raise UserError(
            "trainer.barebones is true: such a trainer writes no checkpoint and no log, and `fit` writes both; leave "
            "it out, or train in Python with Trainer(barebones=True)"
        )
    try:
        yield
    except UserError:
        raise
    except (MisconfigurationException, ValueError, RuntimeError, ImportError) as error:
        requested = ", ".join(f"{name} {settings[name]}" for name in ("accelerator", "devices", "strategy"))
        has = f"this machine has {torch.cuda.device_count()} GPUs and {os.cpu_count()} CPU cores"
        raise UserError(f"the trainer refuses its settings: {error} (requested: {requested}; {has})") from error


def has_progress_bar(callbacks: list[Callback] | Callback | None) -> bool:
    """Return whether the user's callbacks include a progress bar."""
    each = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(callback, ProgressBar) for callback in each)


def useful_line(message: str) -> str:
    """Return the line of a long message of jsonargparse that says what is wrong with a class; else the message.

    Example:
        >>> useful_line("Does not validate\\n  - Problem with given class_path 'my.Logger':\\n      wandb is missing")
        'my.Logger: wandb is missing'
    """
    found = _PROBLEM.search(message)
    return f"{found[1]}: {found[2]}" if found else message
