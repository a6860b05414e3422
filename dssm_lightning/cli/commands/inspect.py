"""The command that shows what is in a bundle."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any

from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError


def inspect(bundle: str, json: bool = False) -> dict[str, Any]:
    """Show what is in a bundle, and compare its files with their checksums.

    Args:
        bundle: a folder, or a URL, from which the bundle is pulled into a cache first.
        json: print a JSON object with all metrics, sizes and programs instead of a page.

    Returns:
        what the JSON object has.
    """
    from dssm_lightning.cli.bundle_report import describe_bundle, show_bundle

    found = describe_bundle(_local(bundle))
    if json:
        show_text(json_format.dumps(found, ensure_ascii=False))
    else:
        show_bundle(found)
    return found


def _local(bundle: str) -> Path:
    if "://" in bundle:
        from dssm_lightning.retrieval.bundle.transfer import pull_into_cache

        return pull_into_cache(bundle)
    if not Path(bundle).is_dir():
        raise UserError(f"--bundle {bundle}: there is no such folder")
    return Path(bundle)
