"""The indexes that a command line asks for: engines and their settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.utils.errors import UserError, require_choice

if TYPE_CHECKING:
    from dssm_lightning.retrieval.indexes import Index
    from dssm_lightning.retrieval.towers import Floats

ENGINES = ("exact", "faiss", "qdrant")
BUILDING = "efConstruction"
"""The parameter of FAISS that a built graph keeps; others are of the search."""


@dataclass(frozen=True)
class IndexSetting:
    """One index to measure.

    Attributes:
        engine: its name.
        arguments: of the engine's class.
        parameters: of FAISS, which are set after building; an index that differs only in these is built once.

    Example:
        >>> IndexSetting("faiss", {"factory": "HNSW32"}, {"efSearch": 64}).label
        'faiss HNSW32 efSearch=64'
    """

    engine: str
    arguments: dict[str, Any]
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What the table shows."""
        named = {**self.arguments, **self.parameters}
        values = [str(named.pop(name)) for name in ("factory", "precision") if name in named]
        for name, value in named.items():
            if isinstance(value, dict):
                values += [f"{key}={each:g}" for key, each in value.items()]
            elif value is not None and name not in ("rescore", "location"):
                values.append(f"{name}={value:g}" if isinstance(value, float | int) else f"{name}={value}")
        return " ".join([self.engine, *values])

    def build(self, vectors: Floats, head: int, heads: int) -> Index:
        """Build the index of a head's vectors (N, d). Errors as for the engine's class."""
        from dssm_lightning.retrieval.indexes.load_index import ENGINES as CLASSES

        arguments = dict(self.arguments)
        if self.engine == "qdrant" and heads > 1:
            arguments["location"] = str(Path(arguments["location"], str(head)))
        return self.set_parameters(CLASSES[self.engine](**arguments).build(vectors))

    def set_parameters(self, index: Index) -> Index:
        """Set the parameters of the search of a built index, and return it."""
        from dssm_lightning.retrieval.indexes.faiss_index import Faiss

        if isinstance(index, Faiss) and self.parameters:
            index.set_parameters(**self.parameters)
        return index


def index_settings(
    engines: Sequence[str] | None,
    factories: Sequence[str] | None,
    precisions: Sequence[str] | None,
    parameters: Sequence[str] | None,
    location: str | None,
    width: int,
) -> list[IndexSetting]:
    """Return the indexes that the options ask for; those that are built in the same way follow each other.

    Without an engine, other options name it: a factory is of faiss, a precision of exact, a location of qdrant. Without
    any option, exact search in every precision is measured.

    Args:
        engines: their names.
        factories: of FAISS.
        precisions: of exact search.
        parameters: sets of FAISS' parameters, as texts; each is used with the factories that have them.
        location: the folder of Qdrant.
        width: of the vectors.

    Raises:
        UserError: an unknown engine or precision; an option of an engine that is not asked for; an engine that is not
            installed; a factory or a parameter that FAISS does not know; a server.
    """
    given = {"exact": precisions, "faiss": factories or parameters, "qdrant": location}
    options = {"exact": "--precision", "faiss": "--factory" if factories else "--parameters", "qdrant": "--location"}
    chosen = list(dict.fromkeys(engines or [name for name in ENGINES if given[name]] or ["exact"]))
    for engine in chosen:
        require_choice("index", "--engine", engine, ENGINES)
    for engine, value in given.items():
        if value and engine not in chosen:
            shown = value if isinstance(value, str) else " ".join(value)
            raise UserError(
                f"{options[engine]} {shown} means nothing without --engine {engine}: add it, or leave it out"
            )
    found: list[IndexSetting] = []
    for engine in chosen:
        if engine == "exact":
            found += _exact(precisions)
        elif engine == "faiss":
            sets = [parsed_parameters(each) for each in parameters or ()]
            found += _faiss(factories or ["HNSW32"], sets, width)
        else:
            found.append(IndexSetting("qdrant", {"location": _folder(location)}))
    return found


def parsed_parameters(text: str) -> dict[str, float]:
    """Return the parameters of a text.

    Raises:
        UserError: no names and numbers.

    Example:
        >>> parsed_parameters("efConstruction=200,efSearch=64")
        {'efConstruction': 200, 'efSearch': 64}
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (each.strip() for each in part.partition("="))
        try:
            number = float(value)
            if not name or name in found or abs(number) == float("inf") or number != number:
                raise ValueError(name)
        except ValueError as error:
            raise UserError(
                f"--parameters {text}: {part!r} is no parameter; give a name and a number, such as efSearch=64"
            ) from error
        found[name] = int(number) if number.is_integer() else number
    return found


def _exact(precisions: Sequence[str] | None) -> Iterator[IndexSetting]:
    from dssm_lightning.retrieval.indexes.exact import PRECISIONS

    for precision in dict.fromkeys(precisions or PRECISIONS):
        require_choice("index", "--precision", precision, PRECISIONS)
        yield IndexSetting("exact", {"precision": precision, "rescore": None if precision == "float32" else "float32"})


def _faiss(factories: Sequence[str], sets: Sequence[dict[str, float]], width: int) -> Iterator[IndexSetting]:
    """Yield each factory with those sets of parameters that it has; each set must fit a factory."""
    from dssm_lightning.retrieval.indexes.faiss_index import DEFAULTS, Faiss

    refused: dict[int, UserError] = {}
    fitting: dict[str, list[int]] = {}
    for factory in dict.fromkeys(factories):
        Faiss(factory).require_possible(width)
        fitting[factory] = []
        for number, parameters in enumerate(sets):
            try:
                Faiss(factory, parameters).require_possible(width)
                fitting[factory].append(number)
            except UserError as error:
                refused[number] = error
    for number, reason in refused.items():
        if not any(number in numbers for numbers in fitting.values()):
            raise reason
    for factory, numbers in fitting.items():
        own = [sets[number] for number in numbers] or [{}]
        searched = {name for each in own for name in each if name in DEFAULTS and name != BUILDING}
        built = [{name: each[name] for name in each if name not in searched} for each in own]
        values = [{name: each.get(name, DEFAULTS[name]) for name in sorted(searched)} for each in own]
        pairs = sorted(zip(built, values, strict=True), key=lambda pair: sorted(pair[0].items()))
        yield from (IndexSetting("faiss", {"factory": factory, "parameters": one}, more) for one, more in pairs)


def _folder(location: str | None) -> str:
    if location is None:
        raise UserError("--engine qdrant needs --location FOLDER, in which Qdrant keeps its files")
    if "://" in location:
        raise UserError(
            f"--location {location}: a bundle may name no server, since whoever opens it would send queries there; use "
            "a folder, or Qdrant(location=…) of dssm_lightning.retrieval.indexes in Python"
        )
    return str(Path(location).absolute())
