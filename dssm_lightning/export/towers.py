"""Both towers and the scorer of a model as ONNX programs, which run without torch."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from dssm_lightning.export.flat_columns import example_columns
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import Tower
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.bundle.programs import ExportedTowers
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features

FILES = ("model.safetensors", "query.onnx", "candidate.onnx", "scorer.onnx", "vectors.onnx")


def export_towers(
    model: TwoTowerModel, folder: str | Path, *, examples: tuple[Features, Features] | None = None
) -> ExportedTowers:
    """Write a built model as ONNX programs that take any number of rows, of any lengths.

    ``query.onnx`` and ``candidate.onnx`` turn encoded features into embeddings, ``scorer.onnx`` scores given pairs of
    embeddings, and ``vectors.onnx``, where it is needed, turns embeddings into the vectors of an index. All of them
    read their weights from ``model.safetensors`` in the same folder, which has each tensor once. The inputs of the
    towers are the features' columns, as :func:`~dssm_lightning.export.flatten` names them; ages that no encoder reads
    are no inputs. A history of whole candidates has their embeddings as an input. A batch needs at least one row, and
    such a history at least one embedding, even if no row refers to it.

    Each program is compared with torch before the function returns.

    Args:
        model: a built model; it is not changed.
        folder: folder for the files; made if it does not exist.
        examples: encoded columns of both sides, of at least two rows, to trace the programs with. None = made from the
            schemas, which is possible for features of the package's classes.

    Raises:
        UserError: the model is not built; the folder has such files; onnx, onnxscript or onnxruntime is not installed;
            ONNX cannot hold an encoder or another part of the model, which the message names.

    Example:
        >>> import tempfile
        >>> from functools import partial
        >>> from dssm_lightning import Tower
        >>> from dssm_lightning.features import Categorical
        >>> from dssm_lightning.features.schema import Schema, Schemas
        >>> from dssm_lightning.models.fusion import Concat
        >>> from dssm_lightning.models.scorers import Dot
        >>> schema = Schema((Categorical(name="city", vocabulary=("Bonn", "Rome")),))
        >>> model = TwoTowerModel(partial(Tower, fusion=Concat), None, Dot())
        >>> model.build(Schemas(schema, schema))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     programs = export_towers(model, folder)
        >>> programs.query.inputs, programs.query.shape
        ((ProgramInput(name='city', dtype='int32', shape=(None,)),), (None, 32))
    """
    require_installed()
    if model.schemas is None:
        raise UserError("export: the model has no towers yet; call build(schemas), or load a checkpoint")
    folder = Path(folder)
    if found := [name for name in FILES if (folder / name).exists()]:
        raise UserError(f"export: {str(folder)!r} already has {', '.join(found)}; give an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    if examples is None:
        query, candidate = model.schemas.query, model.schemas.candidate
        examples = example_columns(query, candidate), example_columns(candidate, candidate)
    from dssm_lightning.export.writing import write_programs  # needs the extra

    with torch.no_grad(), portable_model(model) as portable:
        return write_programs(portable, folder, portable.embed_histories(examples[0]), examples[1])


def require_installed() -> None:
    """Refuse to export without the packages of the extra ``onnx``.

    Raises:
        UserError: a package is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(
            f"export: {', '.join(missing)} is not installed; install the extra `onnx`: "
            "pip install 'dssm-lightning[onnx]'"
        )


@contextmanager
def portable_model(model: TwoTowerModel) -> Iterator[TwoTowerModel]:
    """Yield both towers and the scorer in evaluation mode, on the CPU and in float32; restore the mode at the end.

    The modules are the model's own, unless their tensors must be moved or converted: then they are copies.
    """
    parts = nn.ModuleList([model.query_tower, model.candidate_tower, model.scorer])
    tensors = [*parts.parameters(), *parts.buffers()]
    if any(t.device.type != "cpu" or (t.is_floating_point() and t.dtype != torch.float32) for t in tensors):
        parts = copy.deepcopy(parts).cpu().float()
    query, candidate, scorer = parts
    assert isinstance(query, Tower)
    assert isinstance(candidate, Tower)
    assert isinstance(scorer, Scorer)
    result = TwoTowerModel(model.make_query_tower, model.make_candidate_tower, scorer)
    result.query_tower, result.candidate_tower, result.schemas = query, candidate, model.schemas
    result.truncate_dim = model.truncate_dim
    modes = {module: module.training for module in result.modules()}
    try:
        with torch.compiler.set_stance("force_eager"):  # a compiled tower cannot be traced
            yield result.eval()
    finally:
        for module, training in modes.items():
            module.training = training
        gc.collect()  # torch's tracer leaves subclasses with our names, and YAML would find two classes `Tower`
