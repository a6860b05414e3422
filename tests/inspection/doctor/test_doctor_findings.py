"""Lines of YAML, merged configs, and errors as findings."""

from __future__ import annotations

import re

import pytest
import yaml
from helpers.paths import PACKAGE, ROOT

from dssm_lightning.inspection.doctor.findings import percent, yaml_line
from dssm_lightning.inspection.doctor.refusals import refusal
from dssm_lightning.inspection.doctor.settings import feature_line, merged, without_line

CONFIG = {
    "data": {
        "source": {"class_path": "Files", "init_args": {"query_id": "shopper", "label": "stars"}},
        "query": [
            {"class_path": "HashedWords", "init_args": {"name": "words", "column": "text", "num_buckets": 100}},
            {"class_path": "dssm_lightning.features.Numeric", "init_args": {"name": "age"}},
        ],
    },
    "model": {"query_tower": {"init_args": {"output_dim": 0}}},
}


@pytest.mark.parametrize(
    "value", [3, "a: b # c", None, [], {"class_path": "Uniform", "init_args": {"num_negatives": 4}}]
)
def test_a_line_is_the_yaml_of_its_value(value: object) -> None:
    line = yaml_line("data.split.init_args", value, "why")
    assert "\n" not in line
    assert yaml.safe_load(line) == {"data": {"split": {"init_args": value}}}


def test_another_class_takes_the_place_of_one_with_its_arguments() -> None:
    first = {"data": {"split": {"class_path": "PerQuery", "init_args": {"test": 0.2}}, "batch_size": 8}}
    second = {"data": {"split": {"class_path": "RandomRows"}}}
    assert merged([first, second]) == {"data": {"split": {"class_path": "RandomRows"}, "batch_size": 8}}
    assert merged([first, {"data": {"split": {"init_args": {"seed": 1}}}}])["data"]["split"]["init_args"] == {
        "test": 0.2,
        "seed": 1,
    }


def test_the_line_of_a_feature_keeps_what_does_not_change() -> None:
    (entry,) = yaml.safe_load(feature_line(CONFIG, "query", "words", num_buckets=200))["data"]["query"]
    assert entry["init_args"] == {"name": "words", "column": "text", "num_buckets": 200}
    (entry,) = yaml.safe_load(feature_line(CONFIG, "query", "words", "Categorical", num_buckets=None))["data"]["query"]
    assert entry == {"class_path": "Categorical", "init_args": {"name": "words", "column": "text"}}
    assert "words" not in without_line(CONFIG, "query", "words").partition("#")[0]
    assert yaml.safe_load(without_line({}, "query", "words")) == {"data": {"query": []}}


@pytest.mark.parametrize(
    ("message", "where", "value"),
    [
        ("query feature column 'text': no such column; did you mean 'texts'?", "data.query.words", "texts"),
        ("Numeric feature 'age': 3 values are missing; set `missing`", "data.query.age", "indicator"),
        ("label column 'stars' must hold 1 or 0, found 5", "data.source.positive", ">="),
        ("query_id column 'shopper': no such column; did you mean 'query'?", "data.source.query_id", "query"),
        ("Tower: output_dim is 0; it must be at least 1", "model.query_tower.init_args.output_dim", "output_dim"),
        ("something that no setting explains", "model", "model"),
    ],
)
def test_an_error_names_the_setting_that_it_speaks_of(message: str, where: str, value: str) -> None:
    found = refusal(ValueError(message), CONFIG, "model" if where.startswith("model") else "data")
    assert (found.level, found.where) == ("error", where)
    assert found.found == message
    assert found.change is not None
    assert value in found.change
    yaml.safe_load(found.change)


@pytest.mark.parametrize(("share", "text"), [(0, "0 %"), (1e-6, "< 0.1 %"), (0.034, "3.4 %"), (1, "100 %")])
def test_a_share_keeps_what_matters(share: float, text: str) -> None:
    assert percent(share) == text


def test_the_page_names_every_check() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "inspection" / "doctor").glob("*.py"))
    names = set(re.findall(r"Finding\(\s*(?:level|\"\w+\"|\"warning\" if [^,]+), \"([a-z-]+)\"", code))
    names |= {"data-refused", "model-refused"}
    page = (ROOT / "docs" / "how-to" / "doctor.md").read_text(encoding="utf-8")
    listed = {
        name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`([a-z-]+)`", row)
    }
    assert len(names) > 50
    assert listed == names
