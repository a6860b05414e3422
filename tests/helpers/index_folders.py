"""Change the files of a saved index, and make ``index.json`` fit again, as somebody who means harm would."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any


def replace_file(path: Path, content: bytes) -> None:
    """Write other content into a file of the folder, with its right size and checksum in ``index.json``."""
    path.write_bytes(content)
    change_manifest(path.parent, files={path.name: [len(content), zlib.crc32(content)]})


def change_manifest(folder: Path, files: dict[str, Any] | None = None, **changes: Any) -> None:
    """Change values of ``index.json``, and what it says of some files."""
    path = folder / "index.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest |= changes
    manifest["files"] |= files or {}
    path.write_text(json.dumps(manifest), encoding="utf-8")
