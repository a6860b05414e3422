"""The command that writes a bundle."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dssm_lightning.utils.logger import log_info

if TYPE_CHECKING:
    from dssm_lightning.features.schema import Schema


def export(
    output: str,
    config: list[str] | None = None,
    ckpt_path: str = "best",
    vectors: Literal["float32", "float16", "int8", "binary"] | None = None,
    pt2: bool = False,
    picture: str | None = None,
    truncate_dim: int | None = None,
) -> Path:
    """Write a trained model and its candidates as a bundle: a folder that answers without torch.

    Args:
        output: the folder; an older bundle in it is replaced.
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config).
        vectors: what a number of a searched vector takes: float32, float16, int8 or binary. With less than float32, the
            best candidates are scored again with float32, or with int8 if the candidate tower has vectors. None =
            binary if the candidate tower has vectors: binary, else float32.
        pt2: also write both towers as torch.export programs, query.pt2 and candidate.pt2.
        picture: the candidates' column of the small pictures to show, paths or bytes of picture files; None = that of a
            feature of pictures, if there is one; an empty text = no pictures.
        truncate_dim: cut all embeddings to this width, as the loss Matryoshka trains them; None = whole embeddings.

    Returns:
        the folder.
    """
    from dssm_lightning.retrieval.bundle.writing import require_bundle_or_nothing

    folder = Path(output)
    require_bundle_or_nothing(folder)  # before the corpus is embedded
    from dssm_lightning import api
    from dssm_lightning.cli.checkpoint_arguments import require_checkpoint
    from dssm_lightning.features.schema import Schemas
    from dssm_lightning.retrieval.bundle.files import names_in
    from dssm_lightning.retrieval.bundle.reading import SCHEMA
    from dssm_lightning.training.refit_files import with_refit

    checkpoint = require_checkpoint(ckpt_path, config[0] if config else None)
    configs = with_refit(config or [], checkpoint)
    api.export_bundle(checkpoint, folder, configs, vectors=vectors, pt2=pt2, picture=picture, truncate_dim=truncate_dim)
    size = sum((folder / name).stat().st_size for name in names_in(folder))
    query = _example(Schemas.from_json((folder / SCHEMA).read_text(encoding="utf-8")).query)
    line = f"python -m dssm_lightning search --bundle {shlex.quote(output)} --query {query}"
    log_info(f"bundle: {output} ({size / 2**20:,.1f} MiB); search it: {line}")
    return folder


def _example(schema: Schema) -> str:
    """Return a query to fill in: a bare text for one column, otherwise an object, in which a history is a list."""
    from dssm_lightning.features import History

    columns = {feature.source_column: ["…"] if isinstance(feature, History) else "…" for feature in schema}
    return shlex.quote("…" if list(columns.values()) == ["…"] else json.dumps(columns, ensure_ascii=False))
