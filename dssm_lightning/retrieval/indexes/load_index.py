"""Open a saved index of any engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from dssm_lightning.retrieval.indexes.base import Index
from dssm_lightning.retrieval.indexes.exact import Exact
from dssm_lightning.retrieval.indexes.faiss_index import Faiss
from dssm_lightning.retrieval.indexes.index_files import read_manifest
from dssm_lightning.retrieval.indexes.qdrant_index import Qdrant
from dssm_lightning.utils.errors import require_choice

ENGINES: dict[str, type[Index]] = {each.engine: each for each in (Exact, Faiss, Qdrant)}
"""The engines by their names in ``index.json``."""


def load_index(folder: str | Path, vectors: ArrayLike | None = None, verify: bool = True, **settings: Any) -> Index:
    """Open a saved index, whichever engine made it.

    Args:
        folder: the folder.
        vectors: the vectors of which the index was built: they are compared by a checksum, and used in place of those
            in the folder.
        verify: read the files and the vectors once, to compare their checksums; see :meth:`Index.load`.
        settings: arguments of the engine's class, in place of those in the folder.

    Raises:
        UserError: an unknown engine, and as for :meth:`Index.load`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Exact(precision="int8").build([[1, 0], [0, 1]]).save(folder)
        ...     load_index(folder).search([[1, 2]], k=1).rows.tolist()
        [[1]]
    """
    manifest = read_manifest(Path(folder), verify=False)  # the engine verifies
    require_choice(f"{folder}", "engine", manifest.engine, list(ENGINES))
    return ENGINES[manifest.engine].load(folder, vectors, verify, **settings)
