"""A server: one process, or several that share a socket."""

from __future__ import annotations

import contextlib

from dssm_lightning.serving.listening import allow_connections, announce, listen
from dssm_lightning.serving.process import descriptions, make_server
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.serving.workers import Supervisor
from dssm_lightning.utils.interrupts import wait_for_training


def serve(settings: ServingSettings) -> None:
    """Serve bundles until SIGTERM or Ctrl-C.

    Raises:
        UserError: the port is in use, or a bundle cannot be served. Nothing is announced then.
    """
    allow_connections(settings.limits.max_connections)
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        if settings.workers > 1:
            Supervisor(settings, listener).run()
            return
        serving = Serving(settings)
        serving.open()
        announce(settings, listener, descriptions(serving))
        wait_for_training(True)  # requests that have begun may take their time when a signal comes
        try:
            make_server(serving).run([listener])
        finally:
            wait_for_training(False)
