"""The one reader of YAML: what is refused names the file and the line, and nothing takes long."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser
from jsonargparse import Namespace as Parsed

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.yaml_files import DEEPEST, load_yaml, read_sections, read_yaml


def laughs(lines: int = 10) -> str:
    """Lines of references, each nine times the line before."""
    names = [chr(ord("a") + number) for number in range(lines)]
    later = [f"{now}: &{now} [{', '.join([f'*{before}'] * 9)}]" for before, now in pairwise(names)]
    return "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]", *later])


REFUSED = {
    "twice": ("data: {}\nmodel: {}\ndata: {a: 1}\n", "x.yaml, line 3: the key 'data' is given twice, first in line 1"),
    "twice within": ("a:\n  - b: 1\n    c: 2\n    b: 3\n", "x.yaml, line 4: the key 'b' .*twice.*line 2"),
    "twice in braces": ("a: {b: 1, 'b': 2}", "x.yaml, line 1: the key 'b' .*twice"),
    "a billion": (laughs(), "x.yaml, line 6: references repeat more than 100,000 values"),
    "within itself": ("a: &x [1, *x]", r"x.yaml, line 1: the reference \*x contains itself"),
    "deep": ("[" * 200 + "]" * 200, f"x.yaml, line 1: .*deeper than {DEEPEST}"),
    "very deep": ("[" * 100_000, "x.yaml, line 1.*nesting"),
    "open": ("a: [1,\nb", "x.yaml, line 3.*not valid YAML"),
    "tabs": ("a:\n\tb: 1", "x.yaml, line 2.*not valid YAML"),
    "control": ("a: \x01", "x.yaml is not valid YAML.*x0001"),
    "object": ("a: !!python/object/apply:os.system [x]", "x.yaml, line 1.*python/object"),
    "no number": ("a: !!int abc", "x.yaml.*abc"),
    "long number": ("a: " + "9" * 5000, "x.yaml.*digits"),
    "two": ("a: 1\n---\nb: 2", "x.yaml, line 2"),
    "half": (r'a: "\ud800"', "x.yaml, line 1"),
    "no section": ("- data", "x.yaml must consist of sections.*list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    text, message = REFUSED[name]
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    start = time.monotonic()
    with pytest.raises(UserError, match=message) as refused:
        read_sections(path)
    assert time.monotonic() - start < 5
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("lr: 1e-3", {"lr": 0.001}),
        ("a: &a {b: 1}\nc: {<<: *a, d: 2}\ne: *a", {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": {"b": 1}}),
        ("a: [{b: 1}, {b: 2}]\nb: {b: 3}", {"a": [{"b": 1}, {"b": 2}], "b": {"b": 3}}),
        ("a: &x y\nb: {*x : y, y2: *x}", {"a": "y", "b": {"y": "y", "y2": "y"}}),
        ("\ufeffa: 💥", {"a": "💥"}),
        ("class: dssm_lightning.fusion.Concat", {"class": "dssm_lightning.models.fusion.Concat"}),
    ],
)
def test_what_is_read(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_sections(path) == value


def test_many_plain_values_are_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("words: [" + ", ".join(f"w{number}" for number in range(150_000)) + "]", encoding="utf-8")
    assert len(read_yaml(path)["words"]) == 150_000


def test_a_key_that_is_given_twice_is_refused_on_the_command_line_too() -> None:
    with pytest.raises(yaml.YAMLError, match="'a' is given twice"):
        load_yaml("{a: 1, a: 2}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--x", type=dict[str, int])
    assert parser.parse_args(["--x={a: 1}"]) == Parsed(x={"a": 1})
    with pytest.raises(Exception, match="a: 2"):
        parser.parse_args(["--x={a: 1, a: 2}"])
