"""The command that copies a bundle from a file system."""

from __future__ import annotations

from dssm_lightning.utils.logger import log_file


def pull(url: str, output: str) -> str:
    """Copy a bundle from a file system, such as an object store, into a folder.

    The checksums are compared. The folder has the whole bundle, or what it had before.

    Args:
        url: any that fsspec knows, such as s3://models/emoji; credentials are those of the file system's environment.
        output: the folder; a bundle in it is replaced.

    Returns:
        the folder.
    """
    from dssm_lightning.retrieval.bundle import transfer

    transfer.pull(url, output)
    log_file(f"the bundle {url}", output)
    return output
