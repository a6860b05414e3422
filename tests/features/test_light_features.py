"""A process that encodes raw queries loads nothing that only training needs."""

from __future__ import annotations

import subprocess
import sys

from helpers.paths import ROOT

HEAVY = ["torch", "polars", "lightning", "tokenizers", "PIL", "rich"]
IMPORTED = "import sys, dssm_lightning.features, dssm_lightning.features.schema"
ENCODED = """
import sys
from dssm_lightning.features import *
from dssm_lightning.features.schema import Schema
film = Categorical(name="film", vocabulary=("7", "heat"))
schema = Schema((
    film,
    CategoricalList(name="genres", separator="|", num_buckets=50),
    Numeric(name="age", mean=30.0, std=10.0),
    Bucketized(name="year", boundaries=(1970.0, 1990.0)),
    Vector(name="place", length=2),
    History(name="seen", of="film").bind(film),
    LikedBy(name="fans", of="film").bind(film),
    HashedTrigrams(name="title"),
    Words(name="words", column="title", vocabulary=("red", "shoes")),
))
record = {"film": 7, "genres": "Drama|War", "age": "40", "year": 1980, "place": [1, 2.5], "seen": ["heat", 7, "new"],
          "fans": None, "title": "Red shoes, cafés"}
found = schema.encode_values([record])
assert found["film"].tolist() == [1] and found["age"].tolist() == [[1.0]] and found["year"].tolist() == [2]
assert found["seen"].values.tolist() == [2, 1, 0] and found["words"].values[:2].tolist() == [1, 2]
History(name="seen", of="candidate").encode_ids([["heat"]], {"heat": 0}.get)
"""


def heavy_after(code: str) -> list[str]:
    """The heavy packages that a fresh process holds after a piece of code."""
    line = [sys.executable, "-c", f"{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout.split()


def test_features_are_imported_without_heavy_packages() -> None:
    assert heavy_after(IMPORTED) == []


def test_every_module_of_features_is_imported_without_torch_and_polars() -> None:
    paths = sorted((ROOT / "dssm_lightning" / "features").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    assert len(names) > 20
    assert not set(heavy_after(f"import sys, {', '.join(names)}")) & {"torch", "polars", "lightning"}


def test_one_raw_record_is_encoded_without_heavy_packages() -> None:
    assert heavy_after(ENCODED) == []
