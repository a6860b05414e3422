"""A package that is missing on a machine that only answers is named, and how to install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.paths import ROOT

from dssm_lightning.features import Image
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.retrieval.candidate_tables import kinds_of, rows_of
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.raw_encoder import RawEncoder
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.optional_packages import naming_packages


class OneNumber:
    """Towers whose embeddings are ones."""

    num_indexes, vector_width, scorer = 1, 1, "Dot"

    def encode(self, side, columns):  # type: ignore[no-untyped-def]  # the types are those of Towers
        return np.ones((1, 1), np.float32)

    def vectors(self, embeddings):  # type: ignore[no-untyped-def]  # the same
        return embeddings[None]

    def score(self, query, candidate, columns):  # type: ignore[no-untyped-def]  # the same
        return np.ones(columns.shape, np.float32)


def test_a_picture_and_a_filter_name_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pl.DataFrame({"id": ["a", "b"]})
    towers = OneNumber()
    corpus = Corpus.build(towers, rows_of(table), np.ones((2, 1), np.float32), kinds=kinds_of(table))
    schema = Schema((Image(name="picture", size=2),))
    for module in ("PIL", "PIL.Image", "dssm_lightning.features.picture_files"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"'picture'.*PIL.*pip install pillow"):
        RawEncoder(Schemas(schema, schema), towers).embed("query", [{"picture": b"x"}], corpus.rows, corpus.embeddings)
    monkeypatch.setitem(sys.modules, "lark", None)
    monkeypatch.delitem(sys.modules, "lark.exceptions", raising=False)
    with pytest.raises(UserError, match=r"filter.*pip install lark"):
        corpus.allowed("id = 'a'")


def test_another_module_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError, match="my_losses"), naming_packages("a loss"):
        raise ModuleNotFoundError("No module named 'my_losses'", name="my_losses")


def test_a_command_names_the_package(tmp_path: Path) -> None:
    code = "import sys; sys.modules['jsonargparse'] = None; import dssm_lightning.__main__ as m; m.run()"
    words = [sys.executable, "-c", code, "search", "--bundle", "x", "--query", "y"]
    found = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, timeout=60, env={"PYTHONPATH": str(ROOT)}
    )
    assert found.returncode == 1
    assert found.stderr.splitlines() == [
        "error: this command needs the package jsonargparse, which is not installed: pip install "
        "jsonargparse[signatures]"
    ]
