"""The embeddings of the corpus as files of TensorBoard's projector, without TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
from torch import Tensor

from dssm_lightning.reports.html_report.embedding_map import sampled
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError

MOST = 100_000
"""Points that are written: a browser shows no more. Of a larger corpus, a sample."""
FILES = ("embeddings.tsv", "metadata.tsv", "projector_config.pbtxt")


def require_projector_folder(folder: Path) -> None:
    """Refuse a place where the files cannot be written, before anything is computed.

    Raises:
        UserError: a file stands there; the folder cannot be made or written; it has another projector's config.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--projector {folder}: is a file; name a folder, which `tensorboard --logdir` then reads")
    config = folder / FILES[2]
    if config.is_file() and FILES[0] not in config.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--projector {folder}: has a {FILES[2]} of another program; name another folder")
    try:
        with atomic_write(folder / ".trial") as temporary:
            temporary.write_bytes(b"")
        (folder / ".trial").unlink()
    except OSError as error:
        raise UserError(f"--projector {folder}: cannot be written: {error.strerror}") from error


def write_projector(folder: Path, corpus: Tensor, candidates: pl.DataFrame) -> int:
    """Write the vectors (N, D), what is known of each candidate, and the config; return the number of points.

    Args:
        folder: what ``tensorboard --logdir`` reads.
        corpus: embeddings of all candidates.
        candidates: N rows of raw columns, the id first.
    """
    rows = sampled(len(corpus), MOST)
    vectors = io.BytesIO()
    np.savetxt(vectors, corpus[rows].float().cpu().numpy(), fmt="%.6g", delimiter="\t")
    table = candidates[rows.numpy()]
    lines = ["\t".join(map(_field, table.columns))] if len(table.columns) > 1 else []  # of one column without a name
    lines += ["\t".join(map(_field, row)) for row in table.iter_rows()]
    config = (
        "embeddings {\n"
        f'  tensor_name: "candidates"\n  tensor_path: "{FILES[0]}"\n  metadata_path: "{FILES[1]}"\n'
        f"  tensor_shape: {len(rows)}\n  tensor_shape: {corpus.shape[1]}\n}}\n"
    )
    for name, content in zip(
        FILES, (vectors.getvalue(), "\n".join(lines).encode() + b"\n", config.encode()), strict=True
    ):
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    return len(rows)


def _field(value: object) -> str:
    r"""Return a field of a TSV, in which no tab and no end of line may stand.

    Example:
        >>> _field("a\tb\nc"), _field(["x", "y"]), _field(None)
        ('a b c', 'x, y', '')
    """
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return " ".join(str("" if value is None else value).split()).encode("utf-8", "replace").decode()
