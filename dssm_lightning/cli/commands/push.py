"""The command that copies a bundle to a file system."""

from __future__ import annotations

from dssm_lightning.utils.logger import log_file


def push(bundle: str, url: str) -> str:
    """Copy a bundle to a file system, such as an object store, by its URL.

    The checksums are compared first. The manifest comes last, so that a transfer that breaks off leaves no bundle.

    Args:
        bundle: the folder.
        url: any that fsspec knows, such as s3://models/emoji; credentials are those of the file system's environment.

    Returns:
        the URL.
    """
    from dssm_lightning.retrieval.bundle import transfer

    transfer.push(bundle, url)
    log_file(f"the bundle {bundle}", url)
    return url
