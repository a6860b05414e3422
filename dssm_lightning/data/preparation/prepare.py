"""From raw tables to a cache: check, split, fit, encode. One process prepares it; all processes map it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import FOLDS, LEFT_OUT, TRAIN, Interactions
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.fit_schemas import fit_schemas
from dssm_lightning.data.preparation.named_negatives import explicit_negatives
from dssm_lightning.data.preparation.objectives import objective_rows, standard_ratings
from dssm_lightning.data.preparation.training_settings import with_dropout_of, without_dropout
from dssm_lightning.data.setting_checks import check_labels
from dssm_lightning.data.sources import Source, file_formats
from dssm_lightning.data.splits import Split
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.objectives import shared_by_pairs, with_objectives
from dssm_lightning.data.tables.ratings import with_rating
from dssm_lightning.data.tables.tables import RawTables, Tables, collapse, first_of_pairs, keep_rows
from dssm_lightning.data.tables.times import seconds
from dssm_lightning.features import History, LikedBy
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.utils.checked_folder import damaged_files
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import warn
from dssm_lightning.utils.memory_mapped import numbers
from dssm_lightning.utils.ragged import Ragged


@dataclass(frozen=True)
class Recipe:
    """The settings that a cache depends on."""

    source: Source
    query: Schema
    candidate: Schema
    split: Split
    negatives_column: str | None
    """Column that lists candidate ids as an event's own negatives; None = no such column."""
    negatives_file: str | None = None
    """File that holds the column, by query; None = the interactions hold it."""
    needs_labels: bool = False
    """Whether interactions without a label are refused before they are encoded; the cache does not depend on it."""
    objectives: tuple[tuple[str, str | None], ...] = ()
    """Names and rules of the objectives, as :func:`with_objectives` reads them."""
    rating: str | None = None
    """Column of numbers for a rating head."""

    def tables(self) -> RawTables:
        """Return the tables of the source, with the columns of the objectives."""
        columns = [feature.source_column for feature in _read(self.query)]
        raw = with_objectives(self.source.tables(), dict(self.objectives), columns)
        return raw if self.rating is None else with_rating(raw, self.rating, columns)

    def fingerprint(self, schemas: Schemas) -> str:
        """Return the name of the cache for these schemas, fitted or not."""
        split = f"{type(self.split).__name__}{sorted(vars(self.split).items())}"
        named = str(self.negatives_column)
        if self.negatives_file is not None:
            files = [(file, file.stat()) for file in file_formats.locate(self.negatives_file, "negatives")]
            named += "".join(f"|{file}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in files)
        several = [repr((self.objectives, self.rating))] if self.objectives or self.rating else []
        several += [] if self.rating is None else ["shared by pairs"]  # caches of before have fewer ratings
        return cache.fingerprint(self.source.fingerprint(), without_dropout(schemas).to_json(), split, named, *several)


def prepare(recipe: Recipe, cache_dir: Path, fitted: Schemas | None = None) -> Path:
    """Encode the data into a folder of ``cache_dir``, unless it exists, and return the folder.

    A damaged folder is made again, with a warning that names its first damaged file.

    Args:
        recipe: the settings.
        cache_dir: the folder of all caches.
        fitted: the schemas of a checkpoint; None = fit new ones (only ``fit`` fits).

    Raises:
        UserError: the checkpoint's schemas have other features; ``cache_dir`` is no folder; whatever is wrong with the
            data.
        OSError: a file cannot be read or written.
    """
    if fitted is not None:
        check_declared(recipe, fitted)
    folder = cache_dir / recipe.fingerprint(Schemas(recipe.query, recipe.candidate))
    damaged = damaged_files(folder)
    if fitted is not None and (damaged or without_dropout(cache.saved_schemas(folder)) != without_dropout(fitted)):
        if damaged and os.path.lexists(folder):
            warn(f"{folder}: {_name(damaged)} missing or damaged; the cache is not used")
        folder = cache_dir / recipe.fingerprint(fitted)
        damaged = damaged_files(folder)
    if not damaged:  # without the lock, for which the folder of all caches must be writable
        return folder
    with cache.lock(folder):
        damaged = damaged_files(folder)  # another process may have made it in the meantime
        if damaged:
            if os.path.lexists(folder):
                warn(f"{folder}: {_name(damaged)} missing or damaged; the cache is made again")
            _encode(recipe, folder, fitted)
    return folder


def read_prepared(recipe: Recipe, folder: Path, fitted: Schemas | None = None) -> cache.Prepared:
    """Map the data of :func:`prepare`, with the settings that only training reads as they are declared or fitted."""
    data = cache.read(folder)
    declared = fitted or Schemas(recipe.query, recipe.candidate)
    names = tuple(name for name, _ in recipe.objectives)
    return data._replace(schemas=with_dropout_of(data.schemas, declared), objectives=names)


def _name(files: list[str]) -> str:
    return files[0] + (f" and {len(files) - 1} more files" if len(files) > 1 else "")


def check_declared(recipe: Recipe, trained: Schemas) -> None:
    """Refuse a checkpoint whose features are not those that the config declares.

    Raises:
        UserError: they differ: the checkpoint belongs to another config.
    """
    for side in ("query", "candidate"):
        declared, known = getattr(recipe, side).names, getattr(trained, side).names
        if declared != known:
            raise UserError(
                f"the checkpoint was trained with another schema than the data's: {side} features {known} against "
                f"{declared}; name a checkpoint of this config, or the config that it was trained with"
            )


def _encode(recipe: Recipe, folder: Path, fitted: Schemas | None) -> None:
    query_features, candidate_features = _read(recipe.query), _read(recipe.candidate)
    raw = recipe.tables()
    if recipe.needs_labels:
        check_labels(raw.keys.label)
    resolved = raw.resolve(
        [feature.source_column for feature in query_features], [f.source_column for f in candidate_features]
    )
    del raw  # its temporary files of large tables go with it
    tables, fold, dropped = kept_rows(resolved, recipe.split, recipe.rating)
    del resolved
    negatives = (
        None
        if recipe.negatives_column is None
        else explicit_negatives(tables, recipe.negatives_column, recipe.negatives_file)
    )
    interactions = _interactions(tables, fold, negatives, recipe.rating)
    event = Schema(tuple(f for f in query_features if f.source_column not in tables.queries.columns))
    schemas = fitted or fit_schemas(Schemas(recipe.query, recipe.candidate), tables, interactions)
    prepared = cache.Prepared(
        schemas=schemas,
        query={},
        event={},
        candidate={},
        interactions=interactions,
        queries=_without_pictures(tables.queries),
        candidates=_without_pictures(tables.candidates),
        display=list(tables.display),
        report={**dropped, **_fold_sizes(interactions)},
    )
    own = [f.name for f in query_features if f.name not in event.names]
    encoded = {
        "query": (Schema(tuple(schemas.query[name] for name in own)), tables.queries),
        "event": (Schema(tuple(schemas.query[name] for name in event.names)), tables.interactions),
        "candidate": (_read(schemas.candidate), tables.candidates),
    }
    cache.write(folder, prepared, encoded)


def _read(schema: Schema) -> Schema:
    """Return the features that read a column; the others are assembled from the training rows."""
    return Schema(tuple(f for f in schema if not isinstance(f, History | LikedBy)))


def _without_pictures(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(name for name, dtype in table.schema.items() if dtype != pl.Binary)


def _fold_sizes(interactions: Interactions) -> dict[str, int]:
    return {f"{name} interactions": int((interactions.fold == fold).sum()) for fold, name in enumerate(FOLDS)}


# -- rows -----------------------------------------------------------------------------------------------------------


def kept_rows(tables: Tables, split: Split, rating: str | None = None) -> tuple[Tables, Tensor, dict[str, int]]:
    """Return the tables without repeated pairs and without rows that the split leaves out, the folds, and counts.

    Rows that are left out, because they are later than what is measured, must not take the place of earlier rows of the
    same pair: they go first.

    Args:
        tables: complete tables.
        split: it names the folds.
        rating: column of the ratings, of which a pair keeps one; None = there is none.
    """
    if not split.leaves_rows_out:
        tables, repeated = collapse(shared_by_pairs(tables, rating, split.column_of_folds))
        return tables, _folds(split, tables), {"repeated interactions dropped": repeated}
    fold = _folds(split, tables)
    kept = (fold != LEFT_OUT).numpy()
    tables, fold = shared_by_pairs(keep_rows(tables, kept), rating), fold[torch.from_numpy(kept)]
    first = first_of_pairs(tables)
    counts = {"later interactions left out": int((~kept).sum()), "repeated interactions dropped": int((~first).sum())}
    return keep_rows(tables, first), fold[torch.from_numpy(first)], counts


def _folds(split: Split, tables: Tables) -> Tensor:
    return torch.from_numpy(np.asarray(split.assign(tables), dtype=np.int8))


def _interactions(tables: Tables, fold: Tensor, negatives: Ragged | None, rating: str | None) -> Interactions:
    keys, frame = tables.keys, tables.interactions
    interactions = Interactions(
        query=tables.query_rows,
        candidate=tables.candidate_rows,
        fold=fold,
        label=_floats(frame, keys.label),
        weight=_floats(frame, keys.weight),
        time=_times(frame, keys),
        negatives=negatives,
        grade=_floats(frame, keys.grade),
        objectives=objective_rows(tables, fold),
        rating=None if rating is None else standard_ratings(frame[rating], fold),
    )
    if len(interactions.rows(TRAIN, label=1)) == 0:
        raise UserError(
            f"no positive is left to train on: {len(frame):,} interactions, {int((fold == TRAIN).sum()):,} of them in "
            f"the training fold, none with {keys.label or 'a label'} = 1; look at the split and the labels"
        )
    return interactions


def _floats(frame: pl.DataFrame, column: str | None) -> Tensor | None:
    return None if column is None else numbers(frame[column], pl.Float32)


def _times(frame: pl.DataFrame, keys: ColumnRoles) -> Tensor | None:
    return None if keys.time is None else seconds(frame[keys.time])
