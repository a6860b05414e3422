"""A config with the reason of each value beside it is the same config without."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dssm_lightning.inspection.config_text import WIDTH, Because, config_text, part, plain

NESTED = {
    "seed": 1,
    "data": Because(
        {
            "source": part("Files", interactions=Because("a b.csv", "found"), separator="::"),
            "query": [
                Because(part("Numeric", name="age"), "a number"),
                part("Categorical", name=Because("off", "a word that YAML 1.1 would read as false")),
                "plain",
                [],
                {},
            ],
        },
        "the tables",
    ),
}


def test_reasons_are_comments_and_change_no_value() -> None:
    text = config_text(NESTED, ["Head.", "", "  indented"])
    assert yaml.safe_load(text) == plain(NESTED)
    assert text.startswith("# Head.\n#\n#   indented\nseed: 1\n")
    assert "interactions: a b.csv  # found" in text
    assert "  # the tables" not in text
    assert "# the tables\ndata:" in text


def test_a_long_reason_stands_above_and_is_broken() -> None:
    text = config_text({"a": {"b": Because(1, "word " * 60)}})
    assert yaml.safe_load(text) == {"a": {"b": 1}}
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count("#") == 3


@pytest.mark.parametrize(
    "odd", ["a\nb", "#x", ": ", "\x85", "\u2028", "\x1b[31m", "~", "1e3", "", " x", "ключ", "💥", "'\"", "{", "- "]
)
def test_odd_texts_are_values_names_and_reasons(odd: str) -> None:
    settings: dict[str, Any] = {"x": {odd: Because([odd, {"k": odd}], odd)}, "y": Because(odd, odd)}
    assert yaml.safe_load(config_text(settings, [odd])) == plain(settings)


def test_numbers_keep_their_type() -> None:
    settings = {"a": 1e-05, "b": 20, "c": True, "d": None, "e": 0.002}
    assert yaml.safe_load(config_text(settings)) == settings
