"""Files of lists: a query and its candidates in each line, and the same in the order of a model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dssm_lightning.features.raw_values import shown
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError, is_number, require_choice
from dssm_lightning.utils.suggestions import did_you_mean
from dssm_lightning.utils.text_files import parse_json, read_utf8

if TYPE_CHECKING:
    from dssm_lightning.retrieval.given_lists import GivenList, RankedCandidate
    from dssm_lightning.retrieval.retriever import Retriever

KEYS = ("query", "candidates", "labels", "id")
SUFFIXES = (".jsonl", ".parquet")


class ListLine(NamedTuple):
    """One line of the input."""

    name: str  # for messages: the file and the number of the line
    number: int  # from 1
    values: dict[str, Any]
    given: GivenList

    @property
    def labels(self) -> list[float] | None:
        """The label of each candidate; None = the line has none."""
        return self.values.get("labels")


class RankedLine(NamedTuple):
    """One line, and its candidates, best first."""

    line: ListLine
    ranked: list[RankedCandidate]


def read_lists(path: Path, retriever: Retriever) -> list[ListLine]:
    """Read and check every line.

    Raises:
        UserError: no such file, or a line that cannot be read; the message has its number.
    """
    name = f"--input {path}"
    if not path.is_file():
        raise UserError(f"{name}: no such file")
    texts = read_utf8(path, name).split("\n")
    lines = [
        _line(f"{name}, line {number}", number, text, retriever) for number, text in enumerate(texts, 1) if text.strip()
    ]
    if not lines:
        raise UserError(f'{name} has no line; a line is {{"query": …, "candidates": […]}}')
    return lines


def _line(name: str, number: int, text: str, retriever: Retriever) -> ListLine:
    values = parse_json(text, name)
    if not isinstance(values, dict) or not {"query", "candidates"} <= set(values):
        found = ", ".join(map(repr, values)) if isinstance(values, dict) else shown(values)
        raise UserError(f'{name} must be an object with "query" and a list "candidates"; found {found}')
    for key in values:
        if key not in KEYS:
            raise UserError(f"{name}: unknown key {key!r}; possible are {', '.join(KEYS)}{did_you_mean(key, KEYS)}")
    if not isinstance(values["candidates"], list):
        raise UserError(f"{name}: candidates is {shown(values['candidates'])}; it must be a list")
    _check_labels(name, values)
    try:
        return ListLine(name, number, values, retriever.given_list(values["query"], values["candidates"]))
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _check_labels(name: str, values: dict[str, Any]) -> None:
    labels, total = values.get("labels"), len(values["candidates"])
    if labels is None:
        values.pop("labels", None)
        return
    if not isinstance(labels, list) or len(labels) != total:
        found = f"{len(labels)} values" if isinstance(labels, list) else shown(labels)
        raise UserError(
            f"{name}: labels must be a list of one number for each of the {total} candidates; found {found}"
        )
    for label in labels:
        if not isinstance(label, bool) and not (is_number(label) and 0 <= label < math.inf):
            raise UserError(f"{name}: the label {shown(label)} must be a number, 0 or more (0 = not relevant)")


def rank_lines(lines: Sequence[ListLine], retriever: Retriever) -> Iterator[RankedLine]:
    """Yield the lines with their candidates, best first.

    Raises:
        UserError: a value that a feature refuses; the message has the number of the line.
    """
    try:
        answers = retriever.rank_all([line.given for line in lines])
    except UserError:
        for line in lines:
            try:
                retriever.rank_all([line.given])
            except UserError as error:
                raise UserError(f"{line.name}: {error}") from error
        raise
    for line, ranked in zip(lines, answers, strict=True):
        yield RankedLine(line, ranked)


# -- output -----------------------------------------------------------------------------------------------------------


def require_list_output(output: Path) -> None:
    """Refuse an output that is a folder, or whose format is not known.

    Raises:
        UserError: such an output.
    """
    if output.is_dir():
        raise UserError(f"--output {output} is a folder; name a file that ends in {' or '.join(SUFFIXES)}")
    require_choice(f"--output {output}", "the suffix", output.suffix, SUFFIXES)


def as_json_line(ranked: RankedLine) -> str:
    """Return what an output holds of a line: the given values, the candidates in the order of their scores."""
    labels = ranked.line.labels
    candidates = [
        {
            "candidate": each.candidate,
            "score": each.score,
            **({} if labels is None else {"label": labels[each.place]}),
        }
        for each in ranked.ranked
    ]
    values = {key: value for key, value in ranked.line.values.items() if key in ("id", "query")}
    return json.dumps({**values, "candidates": candidates}, ensure_ascii=False)


def write_lists(output: Path, ranked: Sequence[RankedLine]) -> None:
    """Write the lists, whole or not at all: a line for each list, or in Parquet a row for each candidate."""
    with atomic_write(output) as temporary:
        if output.suffix == ".jsonl":
            temporary.write_text("".join(f"{as_json_line(each)}\n" for each in ranked), encoding="utf-8")
        else:
            _write_parquet(temporary, ranked)


def _write_parquet(path: Path, ranked: Sequence[RankedLine]) -> None:
    import polars as pl

    entries = [(each.line, rank, one) for each in ranked for rank, one in enumerate(each.ranked, 1)]
    columns: dict[str, pl.Series] = {"line": pl.Series([line.number for line, _, _ in entries], dtype=pl.Int64)}
    if any("id" in each.line.values for each in ranked):
        columns["id"] = _values([line.values.get("id") for line, _, _ in entries])
    columns["rank"] = pl.Series([rank for _, rank, _ in entries], dtype=pl.Int64)
    columns["candidate"] = _values([one.candidate for _, _, one in entries])
    columns["score"] = pl.Series([one.score for _, _, one in entries], dtype=pl.Float32)
    if any(each.line.labels is not None for each in ranked):
        labels = [None if line.labels is None else float(line.labels[one.place]) for line, _, one in entries]
        columns["label"] = pl.Series(labels, dtype=pl.Float64)
    pl.DataFrame(columns).write_parquet(path)


def _values(values: list[Any]) -> Any:
    """Return a column of whole numbers if all values are, else of texts; objects are JSON."""
    import polars as pl

    given = [value for value in values if value is not None]
    if given and all(isinstance(value, int) and not isinstance(value, bool) for value in given):
        return pl.Series(values, dtype=pl.Int64)
    texts = [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values]
    return pl.Series(texts, dtype=pl.String)
