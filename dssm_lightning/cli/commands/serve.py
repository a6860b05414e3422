"""The command that serves bundles over HTTP."""

from __future__ import annotations

import os

from dssm_lightning.serving.settings import Limits, ServingSettings, name_bundles
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.optional_packages import naming_packages

TOKEN = "DSSM_API_TOKEN"
"""Environment variable with what clients must send; no option, since every user of a machine can list those."""


def serve(
    bundle: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    threads: int = 1,
    cors_origin: list[str] | None = None,
    allowed_host: list[str] | None = None,
    access_log: bool = False,
    verify: bool = True,
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> None:
    """Serve bundles over HTTP, with a page to look at them.

    Args:
        bundle: a folder, or a URL, from which the bundle is pulled into a cache first; name=FOLDER names it. May be
            repeated: requests then say which one they mean, and the page compares two.
        host: the address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for all that can reach it. The
            environment variable DSSM_API_TOKEN has what clients must send.
        port: the port; 0 takes any free one.
        workers: processes. They share the memory of the embeddings; each has the limits below to itself.
        threads: threads of one call of a tower, and of one product of NumPy, in each process.
        cors_origin: a web site, such as https://shop.example, whose pages may ask this server; may be repeated.
        allowed_host: a name, such as that of a proxy, by which clients may address a server without a token on
            loopback, beside localhost; may be repeated.
        access_log: log each request as a line of JSON.
        verify: compare the checksums of all files at the start and at a reload; false compares names and sizes only.
        limits: what a request may ask for.
    """
    if not bundle:
        raise UserError("serve: --bundle is missing; give the folder of a bundle, which `export` writes")
    settings = ServingSettings(
        name_bundles(bundle),
        limits,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        token=os.environ.get(TOKEN),
        cors_origins=tuple(cors_origin or ()),
        allowed_hosts=tuple(allowed_host or ()),
        access_log=access_log,
        verify=verify,
    )
    with naming_packages("serve", extra="serve"):
        from dssm_lightning.serving import server

    server.serve(settings)
