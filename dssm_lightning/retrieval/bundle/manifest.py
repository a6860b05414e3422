"""``manifest.json``: what a bundle is, and which files it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dssm_lightning.retrieval.blend import Blend
from dssm_lightning.retrieval.bundle.files import (
    MANIFEST,
    Content,
    list_files,
    require_no_conflict,
    require_plain_name,
)
from dssm_lightning.retrieval.bundle.programs import ExportedTowers, Program
from dssm_lightning.retrieval.column_kinds import KINDS
from dssm_lightning.utils.bounded_values import require_bounded
from dssm_lightning.utils.errors import UserError, is_whole
from dssm_lightning.utils.text_files import parse_json

FORMAT = 1
"""Version of the format. A bundle of a greater one is refused; every release reads the smaller ones."""
LONGEST = 1 << 24  # bytes of manifest.json
MOST_ROWS, MOST_COLUMNS = 1 << 40, 1 << 16
_PROGRAMS = ("query", "candidate", "scorer", "vectors")


@dataclass(frozen=True)
class CorpusFacts:
    """What the manifest says of the corpus.

    Example:
        >>> CorpusFacts(2, 8, "film", {"film": "text", "year": "number"}, ["film"]).count
        2
    """

    count: int
    """N"""
    width: int
    """D of the embeddings."""
    id_column: str
    columns: dict[str, str]
    """The kind of each, one of :data:`~dssm_lightning.retrieval.column_kinds.KINDS`; the id's column first."""
    display: list[str]
    """The columns that are shown beside an answer."""
    checksums: list[int] = field(default_factory=list)
    """CRC-32 of the vectors of each index."""
    picture_column: str | None = None
    """The candidates' column of which the small pictures are made; None: there are none."""

    @property
    def size(self) -> str:
        """How the model card says how many candidates there are."""
        return f"{self.count:,} candidates with embeddings of width {self.width}"


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    Example:
        >>> program = Program("query.onnx", (), "embedding", (None, 8), 0.0)
        >>> towers = ExportedTowers(program, program, program, None, indexable=True)
        >>> corpus = CorpusFacts(2, 8, "film", {"film": "text"}, ["film"])
        >>> Manifest(towers, "Dot", 8, corpus).num_indexes
        1
    """

    programs: ExportedTowers
    scorer: str
    """Class of the scorer."""
    vector_width: int
    """Numbers of an embedding that are the candidate's vector; its bias and a constant follow."""
    corpus: CorpusFacts
    num_indexes: int = 1
    """H: indexes of inner products; 0 if no index can serve the model."""
    query_texts: list[str] = field(default_factory=list)
    """The columns of a query that have its text, which a hybrid search reads."""
    blend: Blend | None = None
    """The rule of a hybrid search that the run chose on validation rows; None: it chose none."""
    source: dict[str, str] = field(default_factory=dict)
    """Where the bundle comes from: the run, the checkpoint, and whether the run was finished."""
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, Content] = field(default_factory=dict)
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> dict[str, Content]:
    """Write ``manifest.json`` with the sizes and checksums of the files that are in the folder, and return these."""
    values = asdict(manifest)
    programs = values.pop("programs")
    values["programs"] = {name: programs[name] for name in _PROGRAMS}
    values["indexable"] = programs["indexable"]
    files = list_files(folder)
    values["files"] = {name: content._asdict() for name, content in files.items()}
    (folder / MANIFEST).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` and check its types, sizes and names; the files are not read.

    Raises:
        UserError: it is missing, damaged or of a newer format; a file's name that leaves the folder; a size that no
            bundle has.
    """
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{folder}: there is no {MANIFEST}, so this is no bundle; `export` writes one")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= LONGEST else b""
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if size > LONGEST:
        raise UserError(f"{path} has {size:,} bytes; at most {LONGEST:,} are possible: it is damaged")
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Return the manifest that a file's content describes. Errors as for :func:`read_manifest`."""
    try:
        values = parse_json(content.decode("utf-8"), source)
        require_bounded(values, source)
        if not is_whole(values["format"]) or values["format"] < 1:
            raise ValueError(f"format is {values['format']!r}")
        if values["format"] > FORMAT:
            by = values.get("versions", {}).get("dssm-lightning", "a newer release")
            raise UserError(
                f"{source}: format {values['format']} is of a newer release ({by}); this one reads formats up to "
                f"{FORMAT}: update dssm-lightning"
            )
        return _manifest(values, source)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{source} is damaged: {type(error).__name__}: {str(error)[:200]}") from error


def _manifest(values: dict[str, Any], source: str) -> Manifest:
    files = {name: _content(name, each, source) for name, each in values["files"].items()}
    require_no_conflict(files, source)
    corpus, num_indexes = _corpus(values["corpus"], source), values["num_indexes"]
    _size(values["vector_width"], corpus.width, "vector_width", source)
    _size(num_indexes, MOST_COLUMNS, "num_indexes", source, least=0)
    towers = _programs(values, files, source)
    if towers.indexable != (num_indexes > 0) or (num_indexes > 1 and towers.vectors is None):
        raise UserError(f"{source}: num_indexes is {num_indexes}, which its programs contradict")
    if len(corpus.checksums) != num_indexes:
        raise UserError(f"{source}: there are {len(corpus.checksums)} checksums of {num_indexes} indexes")
    return Manifest(
        towers,
        _text(values["scorer"]),
        values["vector_width"],
        corpus,
        num_indexes,
        _texts(values["query_texts"]),
        _blend(values.get("blend"), source),  # new in 0.2
        {name: _text(each) for name, each in values["source"].items()},
        {name: _text(each) for name, each in values["versions"].items()},
        files,
        values["format"],
    )


def _programs(values: Mapping[str, Any], files: Mapping[str, Content], source: str) -> ExportedTowers:
    read = {
        name: None if values["programs"][name] is None else Program.from_dict(values["programs"][name])
        for name in _PROGRAMS
    }
    query, candidate, scorer = (read[name] for name in _PROGRAMS[:3])
    if query is None or candidate is None or scorer is None:
        raise ValueError("a program is null")
    for program in read.values():
        if program is not None and program.file not in files:
            raise UserError(f"{source}: the program {program.file!r} is not one of the bundle's files")
    if not isinstance(values["indexable"], bool):
        raise ValueError("indexable is no truth value")
    return ExportedTowers(query, candidate, scorer, read["vectors"], values["indexable"])


def _content(name: str, values: Mapping[str, Any], source: str) -> Content:
    require_plain_name(name, source)
    size, digest = values["size"], values["sha256"]
    if not is_whole(size) or size < 0 or not isinstance(digest, str) or len(digest) != 64:
        raise UserError(f"{source}: the size or the checksum of {name!r} is none")
    return Content(size, digest)


def _corpus(values: Mapping[str, Any], source: str) -> CorpusFacts:
    _size(values["count"], MOST_ROWS, "corpus.count", source)
    _size(values["width"], MOST_COLUMNS, "corpus.width", source)
    columns, display = {name: _text(kind) for name, kind in values["columns"].items()}, _texts(values["display"])
    if not set(columns.values()) <= set(KINDS):
        raise ValueError(f"a column is of an unknown kind; known are {KINDS}")
    if [values["id_column"]] != list(columns)[:1] or not set(display) <= set(columns):
        raise UserError(f"{source}: the columns {display} are not among those of the corpus, {list(columns)}")
    checksums = list(values["checksums"])
    if not all(is_whole(each) and 0 <= each < 1 << 32 for each in checksums):
        raise ValueError("a checksum is none")
    picture = values.get("picture_column")  # new in 0.2
    picture = None if picture is None else _text(picture)
    return CorpusFacts(values["count"], values["width"], values["id_column"], columns, display, checksums, picture)


def _blend(values: Any, source: str) -> Blend | None:
    return None if values is None else Blend.of(values, source)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]} is no text")
    return value


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list):
        raise ValueError("a list of texts is none")
    return [_text(each) for each in values]


def _size(value: Any, most: int, name: str, source: str, least: int = 1) -> None:
    if not is_whole(value) or not least <= value <= most:
        raise UserError(f"{source}: {name} is {value!r}; it must be a whole number from {least} to {most:,}")
