"""The data and the model that a config or a checkpoint describes, and the retriever made of them.

Nothing here needs Lightning, except :func:`load_datamodule` and :func:`load_untrained`, which are for a trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.features.schema import Schemas
from dssm_lightning.losses import Loss
from dssm_lightning.models.factories import make
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import TowerFactory
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.run_folders import run_of
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.progress import track
from dssm_lightning.utils.renamed import renew

if TYPE_CHECKING:
    from dssm_lightning.data.datamodule import RetrievalDataModule
    from dssm_lightning.training.module import TwoTower

T = TypeVar("T")


def load_data(configs: Sequence[str | Path]) -> RetrievalData:
    """Return the data that the configs describe, later ones over earlier ones.

    Raises:
        UserError: a file that does not exist, or no section ``data``.
    """
    return _instantiate(RetrievalData, "data", configs)


def load_datamodule(configs: Sequence[str | Path]) -> RetrievalDataModule:
    """Return the data that the configs describe, for a Lightning trainer. Errors as for :func:`load_data`."""
    from dssm_lightning.data.datamodule import RetrievalDataModule

    return _instantiate(RetrievalDataModule, "data", configs)


def load_untrained(configs: Sequence[str | Path]) -> TwoTower:
    """Return the model that the configs describe; its towers are built when the data are known.

    Raises:
        UserError: a file that does not exist, or no section ``model``.
    """
    from dssm_lightning.training.module import TwoTower

    return _instantiate(TwoTower, "model", configs)


def load_run(checkpoint: str | Path) -> tuple[TwoTowerModel, RetrievalData]:
    """Return the trained model of a checkpoint, and the data of its run, encoded with the model's own schemas.

    Raises:
        UserError: the file is damaged, or lies in no run folder, whose config says where the data are.
    """
    path = Path(checkpoint)
    model = model_of(read_checkpoint(path))
    return model, data_of(path, model.schemas)


def load_model(checkpoint: str | Path) -> TwoTowerModel:
    """Return the trained model of a checkpoint as a plain torch module, without its data.

    Raises:
        UserError: the file is damaged, or its model was built from Python callables.
    """
    return model_of(read_checkpoint(Path(checkpoint)))


def model_of(content: dict[str, Any]) -> TwoTowerModel:
    """Return the trained model of a checkpoint's content, in evaluation mode.

    Args:
        content: as :func:`~dssm_lightning.training.checkpoint_files.read_checkpoint` returns it.

    Raises:
        UserError: a tower or the scorer was given as a Python callable, which a checkpoint cannot hold.
    """
    settings = content.get("hyper_parameters", {})
    model = TwoTowerModel(
        make(TowerFactory, _setting(content, "query_tower")),
        make(TowerFactory | None, _setting(content, "candidate_tower")),
        make(Callable[[], Scorer], _setting(content, "scorer"))(),
        settings.get("tied_embeddings"),
        settings.get("encode_chunk_size"),
    )
    model.build(Schemas.from_json(content["schemas"]))
    own = model.state_dict().keys()
    model.load_state_dict({name: value for name, value in content["state_dict"].items() if name in own})
    return model.eval()


def loss_of(content: dict[str, Any]) -> Loss:
    """Return the loss of a checkpoint's content, with what it has learned.

    Raises:
        UserError: it was given as a Python callable, which a checkpoint cannot hold.
    """
    loss: Loss = make(Callable[[], Loss], _setting(content, "loss"))()
    prefix = "loss."
    loss.load_state_dict({k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)})
    return loss


def data_of(checkpoint: Path, schemas: Schemas | None) -> RetrievalData:
    """Return the data of a checkpoint's run, encoded with the model's schemas.

    Raises:
        UserError: the checkpoint lies in no run folder, whose config says where the data are.
    """
    run = run_of(checkpoint)
    if run is None:
        raise UserError(f"{checkpoint} lies in no run folder with a config.yaml, which says where the data are")
    data = load_data([run / "config.yaml"])
    data.encode_with(schemas)
    return data


def load_retriever(checkpoint: str | Path) -> Retriever:
    """Return a retriever of a checkpoint's model over the corpus of its run.

    Raises:
        UserError: as for :func:`load_run`.
    """
    return make_retriever(*load_run(checkpoint))


def make_retriever(model: TwoTowerModel, data: RetrievalData, hybrid_weight: float | None = None) -> Retriever:
    """Return a retriever of a trained model over the corpus of these data, which is embedded first.

    Args:
        model: trained.
        data: the corpus that is searched.
        hybrid_weight: weight of BM25's list in a reciprocal rank fusion with the model's; None = the model alone.

    Raises:
        UserError: a hybrid without texts on both sides.
    """
    assert model.schemas is not None, "the model is not built: train or load it first"
    prepared, hybrid = data.data, None
    if hybrid_weight is not None:
        hybrid = Hybrid(corpus_texts(prepared), model.schemas.query.text_columns, hybrid_weight)
    batches = data.corpus_batches()
    with torch.inference_mode():
        shown = track(batches, "embedding the corpus", len(batches), least=4)
        corpus = model.embed_corpus(shown, len(batches.numbers))
    return Retriever(
        model.schemas,
        model.encode_query,
        model.encode_candidate,
        model.scorer,
        corpus,
        prepared.candidates,
        prepared.display,
        hybrid,
    )


def _setting(content: dict[str, Any], name: str) -> Any:
    settings = content.get("hyper_parameters", {})
    if name not in settings:
        raise UserError(
            f"{name} of this checkpoint was given as a Python callable, which is not saved: use "
            f"TwoTower.load_from_checkpoint(path, {name}=…) and make_retriever(model, data)"
        )
    return settings[name]


def _instantiate(kind: type[T], key: str, configs: Sequence[str | Path]) -> T:
    parser = ArgumentParser(prog="dssm-lightning", exit_on_error=True)
    parser.add_class_arguments(kind, key)
    settings: Namespace | None = None
    for path in map(Path, configs):
        if not path.is_file():
            raise UserError(f"--config {path}: no such file")
        section = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(key)
        if section is not None:
            settings = parser.parse_object({key: renew(section)}, namespace=settings)
    if settings is None:
        raise UserError(f"{', '.join(map(str, configs))} has no section {key!r}")
    made = parser.instantiate(settings)[key]
    assert isinstance(made, kind)
    return made
