"""Medical questions and their answers (MedQuAD, CC BY 4.0). The data do not ship with the package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError

FILE = "qa.jsonl"
URL = "https://github.com/abachaa/MedQuAD"
COLUMNS = ["question", "answer", "focus", "qtype", "source"]


class MedQuAD(Source):
    """Search 15,809 answers from websites of the National Institutes of Health by 14,979 questions (16,407 pairs).

    The source reads ``<root>/medquad``: the authors' repository as ``git clone`` makes it (XML, 12 collections, three
    of them without answers), or one file ``qa.jsonl`` with a line for each pair. White space in XML becomes single
    spaces. Pairs without an answer are left out.

    - queries: ``question``; the text is the id, so equal questions are one query.
    - candidates: ``answer_id`` (a number, in the order of the files), ``answer``: the distinct answers.
    - interactions: ``question``, ``answer_id``; ``focus`` (usually the disease), ``qtype`` (information, symptoms,
      treatment, …) and ``source`` (the collection) of the first equal pair.

    Source: Ben Abacha and Demner-Fushman, arXiv 1901.08079.

    Args:
        root: folder that contains ``medquad``; None = the environment variable DSSM_DATA, else ``data``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     Path(root, "medquad").mkdir()
        ...     pair = {"question": "What is flu?", "answer": "A virus.", "focus": "Flu", "qtype": "information"}
        ...     pl.DataFrame([{**pair, "source": "NIH"}]).write_ndjson(f"{root}/medquad/qa.jsonl")
        ...     MedQuAD(root).tables().candidates.rows()
        [(0, 'A virus.')]
    """

    def __init__(self, root: str | None = None) -> None:
        self.root = root

    def tables(self) -> RawTables:
        """Read the questions, the answers, and the pairs of both.

        Raises:
            FileNotFoundError: the data are missing. The message says how to get them.
            UserError: a file cannot be read.
        """
        pairs = _read(self._files())
        candidates = pairs.select("answer").unique(maintain_order=True).with_row_index("answer_id")
        pairs = pairs.join(candidates, on="answer", maintain_order="left")
        interactions = pairs.unique(["question", "answer_id"], keep="first", maintain_order=True)
        interactions = interactions.select("question", "answer_id", "focus", "qtype", "source")
        queries = interactions.select("question").unique(maintain_order=True)
        return RawTables(interactions, queries, candidates, ColumnRoles("question", "answer_id"), display=("answer",))

    def fingerprint(self) -> str:
        """Return a hash of the path, size and modification time of each file."""
        stats = [(file, file.stat()) for file in self._files()]
        return self._digest(*(f"{file}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in stats))

    def _files(self) -> list[Path]:
        root = Path(os.environ.get("DSSM_DATA", "data") if self.root is None else self.root)
        folder = root / "medquad"
        files = [folder / FILE] if (folder / FILE).is_file() else sorted(folder.glob("*_QA*/*.xml"))
        if not files:
            raise FileNotFoundError(
                f"MedQuAD: {folder.absolute()} has neither {FILE} nor collections such as 1_CancerGov_QA: "
                f"`git clone {URL} {folder}`, or set `root` or DSSM_DATA to the folder that contains medquad"
            )
        return files


def _read(files: list[Path]) -> pl.DataFrame:
    """Return the pairs with an answer, in the order of the files."""
    if files[0].name == FILE:
        try:
            pairs = pl.read_ndjson(files[0])
        except pl.exceptions.PolarsError as error:
            raise UserError(f"MedQuAD: {files[0]} cannot be read as JSON Lines: {error}") from error
        missing = [name for name in COLUMNS if name not in pairs.columns]
        if missing:
            raise UserError(f"MedQuAD: {files[0]} has no {', '.join(missing)}; it has {', '.join(pairs.columns)}")
    else:
        pairs = pl.DataFrame(
            [pair for file in files for pair in _pairs(file)], schema=dict.fromkeys(COLUMNS, pl.String)
        )
    pairs = pairs.select(COLUMNS).filter(pl.col("answer").str.contains(r"\S"))
    if pairs.is_empty():
        raise UserError(f"MedQuAD: no pair in {files[0].parent} has an answer")
    return pairs


def _pairs(file: Path) -> Iterator[dict[str, str]]:
    try:
        document = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"MedQuAD: {file} cannot be read as XML: {error}") from error
    focus, source = _text(document.find("Focus")), file.parent.name
    for pair in document.iter("QAPair"):
        question = pair.find("Question")
        qtype = "" if question is None else question.get("qtype", "")
        answer = _text(pair.find("Answer"))
        yield {"question": _text(question), "answer": answer, "focus": focus, "qtype": qtype, "source": source}


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())
