"""The data and the model that a config or a checkpoint describes, and the retriever made of them.

Nothing here needs Lightning, except :func:`load_datamodule` and :func:`load_untrained`, which are for a trainer.
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jsonargparse import ArgumentParser, Namespace

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.searched_texts import corpus_texts
from dssm_lightning.features.schema import Schemas
from dssm_lightning.inspection.init_config import init_config as init_config
from dssm_lightning.models.evaluating import evaluating
from dssm_lightning.models.numpy_towers import NumpyTowers
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.blend import Blend, chosen_blend
from dssm_lightning.retrieval.candidate_tables import kinds_of, rows_of
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.checkpoint_model import model_of
from dssm_lightning.training.frozen_backbones import use_fixed_features
from dssm_lightning.training.run_folders import run_of
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.parser_messages import in_one_line
from dssm_lightning.utils.progress import track
from dssm_lightning.utils.renamed import renew
from dssm_lightning.utils.trusted_classes import trusted_imports, trusting
from dssm_lightning.utils.yaml_files import read_sections

if TYPE_CHECKING:
    from dssm_lightning.data.datamodule import RetrievalDataModule
    from dssm_lightning.training.module import TwoTower

T = TypeVar("T")


def load_data(configs: Sequence[str | Path]) -> RetrievalData:
    """Return the data that the configs describe, later ones over earlier ones.

    Raises:
        UserError: a file that does not exist or is no YAML, a setting that is refused, or no section ``data``.
    """
    return _instantiate(RetrievalData, "data", configs)


def load_datamodule(configs: Sequence[str | Path]) -> RetrievalDataModule:
    """Return the data that the configs describe, for a Lightning trainer. Errors as for :func:`load_data`."""
    from dssm_lightning.data.datamodule import RetrievalDataModule

    return _instantiate(RetrievalDataModule, "data", configs)


def load_untrained(configs: Sequence[str | Path]) -> TwoTower:
    """Return the model that the configs describe; its towers are built when the data are known.

    Raises:
        UserError: a file that does not exist or is no YAML, a setting that is refused, or no section ``model``.
    """
    from dssm_lightning.training.module import TwoTower

    return _instantiate(TwoTower, "model", configs)


def load_run(checkpoint: str | Path, trust: Sequence[str] = ()) -> tuple[TwoTowerModel, RetrievalData]:
    """Return the trained model of a checkpoint, and the data of its run, encoded with the model's own schemas.

    Args:
        checkpoint: the file, in its run folder.
        trust: modules of your own that the file and the run's config may name.

    Raises:
        UserError: the file is damaged, or names a class that is not trusted; it lies in no run folder, whose config
            says where the data are.
    """
    path = Path(checkpoint)
    with trusting(trust):
        model = model_of(read_checkpoint(path), str(path))
        return model, data_of(path, model.schemas)


def load_model(checkpoint: str | Path, trust: Sequence[str] = ()) -> TwoTowerModel:
    """Return the trained model of a checkpoint as a plain torch module, without its data.

    Args:
        checkpoint: the file.
        trust: modules of your own that the file may name.

    Raises:
        UserError: the file is damaged, or names a class that is not trusted; its model was built from Python
            callables.
    """
    with trusting(trust):
        return model_of(read_checkpoint(Path(checkpoint)), str(checkpoint))


def data_of(checkpoint: Path, schemas: Schemas | None) -> RetrievalData:
    """Return the data of a checkpoint's run, encoded with the model's schemas.

    Raises:
        UserError: the checkpoint lies in no run folder, whose config says where the data are; the config names a class
            that is not trusted.
    """
    run = run_of(checkpoint)
    if run is None:
        raise UserError(f"{checkpoint} lies in no run folder with a config.yaml, which says where the data are")
    config = run / "config.yaml"  # found, not given: it is not the user's code
    with trusted_imports(_sections(config).get("data"), str(config)):
        data = load_data([config])
    data.encode_with(schemas)
    return data


def load_retriever(checkpoint: str | Path, trust: Sequence[str] = (), truncate_dim: int | None = None) -> Retriever:
    """Return a retriever of a checkpoint's model over the corpus of its run.

    Args:
        checkpoint: the file, in its run folder.
        trust: modules of your own that the file and the run's config may name.
        truncate_dim: cut all embeddings to this width, as :class:`~dssm_lightning.losses.Matryoshka` trains them.

    Raises:
        UserError: as for :func:`load_run`; a width that the embeddings cannot be cut to.
    """
    model, data = load_run(checkpoint, trust)
    if truncate_dim is not None:
        model.truncate(truncate_dim, "load_retriever")
    return make_retriever(model, data, chosen_blend(run_of(Path(checkpoint))))


def make_retriever(model: TwoTowerModel, data: RetrievalData, blend: Blend | None = None) -> Retriever:
    """Return a retriever of a trained model over the corpus of these data, which is embedded first.

    Args:
        model: trained.
        data: the corpus that is searched.
        blend: the rule of a hybrid search; None = reciprocal rank fusion with weight 1.
    """
    assert model.schemas is not None, "the model is not built: train or load it first"
    use_fixed_features(model.towers, data)
    towers, prepared = NumpyTowers(model), data.data
    batches = data.corpus_batches()
    with torch.inference_mode(), evaluating(model):  # a fit leaves it in training mode
        shown = track(batches, "embedding the corpus", len(batches), least=4)
        embeddings = model.embed_corpus(shown, len(batches.numbers)).float().cpu().numpy()
    texts, terms = corpus_texts(prepared), None
    query_texts = model.schemas.query.text_columns
    if texts is not None and query_texts:
        terms = BM25()
        terms.fit(texts)
    rows, kinds = rows_of(prepared.candidates), kinds_of(prepared.candidates)
    corpus = Corpus.build(towers, rows, embeddings, terms, kinds)
    display = [name for name in prepared.display if name in rows.columns]
    return Retriever(model.schemas, corpus, display, query_texts, blend=blend)


def export_bundle(
    checkpoint: str | Path,
    output: str | Path,
    configs: Sequence[str | Path] = (),
    *,
    vectors: str | None = None,
    pt2: bool = False,
    picture: str | None = None,
    truncate_dim: int | None = None,
    trust: Sequence[str] = (),
) -> None:
    """Write the bundle of a checkpoint: a folder that answers queries without torch, Lightning or the training data.

    Args:
        checkpoint: the file, in its run folder.
        output: the bundle's folder; an older bundle in its place is replaced.
        configs: the data in place of those of the run, later configs over earlier ones.
        vectors: precision of the vectors that are searched: ``float32``, ``float16``, ``int8`` or ``binary``; None =
            ``binary`` if the candidate tower has ``vectors: binary``, else ``float32``.
        pt2: also write both towers as ``torch.export`` programs.
        picture: the candidates' column of the small pictures to show; None = that of a feature of pictures, if there is
            one; "" = no pictures.
        truncate_dim: cut all embeddings to this width, as :class:`~dssm_lightning.losses.Matryoshka` trains them.
        trust: modules of your own that the checkpoint and the run's config may name.

    Raises:
        UserError: as for :func:`load_run` and :func:`dssm_lightning.export.export_bundle`; a width that the embeddings
            cannot be cut to.
    """
    from dssm_lightning.export.bundle import export_bundle as write
    from dssm_lightning.export.bundle import require_exportable
    from dssm_lightning.export.candidate_pictures import picture_column
    from dssm_lightning.export.run_facts import run_facts

    require_exportable(output, vectors)
    path = Path(checkpoint)
    with trusting(trust):
        model = model_of(read_checkpoint(path), str(path))
        if truncate_dim is not None:
            model.truncate(truncate_dim, "export")
        data = load_data(configs) if configs else data_of(path, model.schemas)
        data.encode_with(model.schemas)
        assert model.schemas is not None
        picture_column(model.schemas.candidate, data, picture)  # before the corpus is embedded
        retriever, facts = make_retriever(model, data), run_facts(path, configs)
        write(model, data, retriever, output, facts, vectors=vectors, pt2=pt2, picture=picture)


def _instantiate(kind: type[T], key: str, configs: Sequence[str | Path]) -> T:
    parser = ArgumentParser(prog="dssm-lightning", exit_on_error=False)
    parser.add_class_arguments(kind, key)
    settings: Namespace | None = None
    for path in map(Path, configs):
        if not path.is_file():
            raise UserError(f"--config {path}: no such file")
        section = _sections(path).get(key)
        if section is None:
            continue
        try:
            settings = parser.parse_object({key: renew(section)}, namespace=settings)
        except ArgumentError as error:
            raise UserError(f"--config {path}: {in_one_line(str(error))}") from error
    if settings is None:
        raise UserError(f"{', '.join(map(str, configs))} has no section {key!r}")
    made = parser.instantiate(settings)[key]
    assert isinstance(made, kind)
    return made


def _sections(config: Path) -> dict[str, Any]:
    return read_sections(config, f"--config {config}")
