"""The checkpoints that a user's own ``ModelCheckpoint`` kept, found again by a resumed fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from dssm_lightning.utils.logger import log_info

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


def find_kept_checkpoints(checkpoint: dict[str, Any], trainer: Trainer) -> None:
    """Change the saved states of ``ModelCheckpoint`` callbacks, so that they remember the files that they kept.

    Lightning forgets the files if the text of the folder's path differs: after the run folder moved, or if one path is
    relative and the other is not. The files then stay for good, and worse ones are kept beside them. Here the folder
    counts as the same if it has all of these files. A folder that is given relative to the working folder stays the
    folder of the first run, also if the fit is resumed in another working folder.

    Args:
        checkpoint: the content of the checkpoint; changed in place.
        trainer: the trainer of the resumed fit; the folders of its callbacks are known.
    """
    states = checkpoint.get("callbacks", {})
    for callback in trainer.checkpoint_callbacks:
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            continue
        _find_moved(states, callback)
        if callback.state_key in states:
            states[callback.state_key] = _own(states[callback.state_key], Path(callback.dirpath))


def _find_moved(states: dict[str, Any], callback: ModelCheckpoint) -> None:
    """Let a callback remember files that it kept under another path of its folder."""
    state, folder = states.get(callback.state_key, {}), str(callback.dirpath)
    kept, saved = state.get("best_k_models"), state.get("dirpath")
    if not kept or saved is None or saved == callback.dirpath:
        return
    if _has_all(Path(folder), kept, saved):
        states[callback.state_key] = _moved(state, saved, folder)
    elif _is_same_setting(folder, saved) and _has_all(Path(saved), kept, saved):
        log_info(f"ModelCheckpoint continues in {saved}, where it kept its first checkpoints")
        callback.dirpath = saved


def _own(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the state without paths that lead out of the callback's folder: it would delete what is there."""

    def is_own(path: str) -> bool:
        return ":" not in path.partition("/")[0] and Path(path).resolve().is_relative_to(folder.resolve())

    lost = {name: "" for name in _PATHS if state.get(name) and not is_own(state[name])}
    kept = {path: score for path, score in (state.get("best_k_models") or {}).items() if is_own(path)}
    return {**state, **lost, "best_k_models": kept}


def _has_all(folder: Path, kept: dict[str, Any], saved: str) -> bool:
    return all((folder / os.path.relpath(path, saved)).is_file() for path in kept)


def _moved(state: dict[str, Any], saved: str, folder: str) -> dict[str, Any]:
    """Return the state with the paths of another folder."""

    def new(path: str) -> str:
        return os.path.join(folder, os.path.relpath(path, saved)) if path else path

    paths = {name: new(state[name]) for name in _PATHS if name in state}
    kept = {new(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "dirpath": folder, "best_k_models": kept}


def _is_same_setting(folder: str, saved: str) -> bool:
    """Return whether both paths have the same end below a working folder: the setting was a relative path."""
    below = os.path.relpath(os.path.realpath(folder), os.path.realpath(os.curdir))
    return not below.startswith(os.pardir) and saved.endswith(os.sep + below)
