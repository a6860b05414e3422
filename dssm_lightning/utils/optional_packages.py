"""Packages that a machine which only answers need not have: the one that is missing is named, and how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dssm_lightning.utils.errors import UserError

_PIP = {
    "PIL": "pillow",
    "jsonargparse": "jsonargparse[signatures]",
    "prometheus_client": "prometheus-client",
    "swagger_ui_bundle": "swagger-ui-bundle",
    "yaml": "jsonargparse[signatures]",
}
"""The names under which pip knows a module, if it is another name."""
PACKAGES = (
    *("PIL", "filelock", "fsspec", "jsonargparse", "lark", "lightning", "onnxruntime", "polars", "rich"),
    *("safetensors", "tokenizers", "torch", "torchmetrics", "torchvision", "yaml"),
    *("anyio", "fastapi", "httptools", "msgspec", "prometheus_client", "starlette", "swagger_ui_bundle"),
    *("optuna", "shtab", "threadpoolctl", "uvicorn"),
)
"""The modules of which an installation without dependencies may lack some."""


@contextmanager
def naming_packages(purpose: str, extra: str | None = None) -> Iterator[None]:
    """Turn the error of a package that is not installed into one line.

    Args:
        purpose: what needs the package, at the start of the message.
        extra: the extra of this package that has it, and whatever else the purpose needs.

    Raises:
        UserError: a package of :data:`PACKAGES` is not installed.

    Example:
        >>> with naming_packages("a filter"):
        ...     raise ModuleNotFoundError("No module named 'lark'", name="lark")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: a filter needs the package lark, which is not installed: pip install lark
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in PACKAGES:
            raise
        name = _PIP.get(module, module) if extra is None else f"'dssm-lightning[{extra}]'"
        raise UserError(f"{purpose} needs the package {module}, which is not installed: pip install {name}") from error
