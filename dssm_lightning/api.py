"""The data and the model that a config or a run describes, for commands that need no trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from rich.progress import track

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.features.schema import Schemas
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.training import run_folders
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.errors import UserError


def _instantiate(kind: type, key: str, configs: list[Path], prog: str) -> Any:
    parser = ArgumentParser(prog=prog, exit_on_error=True)
    parser.add_class_arguments(kind, key)
    settings: Namespace | None = None
    for path in configs:
        section = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(key)
        if section is not None:
            settings = parser.parse_object({key: section}, namespace=settings)
    if settings is None:
        raise UserError(f"{', '.join(map(str, configs))} has no section {key!r}")
    return parser.instantiate(settings)[key]


def load_data(configs: list[str]) -> RetrievalDataModule:
    """The data module that the configs describe, later ones over earlier ones."""
    paths = [Path(config) for config in configs]
    for path in paths:
        if not path.is_file():
            raise UserError(f"--config {path}: no such file")
    data = _instantiate(RetrievalDataModule, "data", paths, "dssm-lightning")
    assert isinstance(data, RetrievalDataModule)
    return data


def load_untrained(configs: list[str]) -> TwoTower:
    """The model that the configs describe, not built yet."""
    model = _instantiate(TwoTower, "model", [Path(config) for config in configs], "dssm-lightning")
    assert isinstance(model, TwoTower)
    return model


def load_run(checkpoint: Path) -> tuple[TwoTower, RetrievalDataModule]:
    """The trained model and its data, encoded with the model's own schema.

    Raises:
        ValueError: the file is damaged, or lies in no run folder (whose config says where the data are).
    """
    content = read_checkpoint(checkpoint)
    run = run_folders.run_of(checkpoint)
    if run is None:
        raise UserError(f"{checkpoint} lies in no run folder with a config.yaml, which says where the data are")
    model = TwoTower.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    data = load_data([str(run / "config.yaml")])
    data.fitted = Schemas.from_json(content["schemas"])
    return model.eval(), data


def load_retriever(checkpoint: str | Path) -> Retriever:
    """What answers raw queries with a checkpoint's model, over the corpus of its run."""
    return make_retriever(*load_run(Path(checkpoint)))


def make_retriever(model: TwoTower, data: RetrievalDataModule, hybrid: Hybrid | None = None) -> Retriever:
    """What answers raw queries with a trained model, over the corpus of these data, which is embedded first.

    Args:
        model: trained.
        data: what is searched.
        hybrid: what fuses the model's ranking with that of the words; None = the model's alone.
    """
    batches = data.corpus_batches()
    few = len(batches) < 4  # embedded before a bar could be read
    with torch.inference_mode():
        corpus = model.embed_corpus(
            track(batches, "embedding the corpus", len(batches), transient=True, disable=few), len(batches.numbers)
        )
    assert model.schemas is not None
    return Retriever(
        model.schemas,
        model.encode_query,
        model.encode_candidate,
        model.scorer,
        corpus,
        data.candidates,
        data.data.display,
        hybrid,
    )
