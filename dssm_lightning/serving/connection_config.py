"""The settings of connections, and when connections read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl

from dssm_lightning.serving.refusals import Refusal
from dssm_lightning.serving.settings import Limits


class ConnectionConfig(Config):
    """Settings of uvicorn, and what its connections need beside them. Arguments as for uvicorn, and:

    Args:
        limits: of headers and connections.
        refused: called with each refusal that a connection writes by itself.
    """

    def __init__(
        self, app: Any, limits: Limits, refused: Callable[[Refusal], None] = lambda refusal: None, **settings: Any
    ) -> None:
        super().__init__(app, **settings)
        self.limits, self.refused = limits, refused
        self.is_ending = False
        """Whether each answer is to be the last one of its connection."""


class FullFlow(FlowControl):
    """Does not read on while requests wait that are not parsed yet."""

    full = False

    def resume_reading(self) -> None:
        """Read on, unless there is enough."""
        if not self.full:
            super().resume_reading()
