"""Arguments of the commands that are plain functions, made ready for jsonargparse."""

from __future__ import annotations

import pytest

from dssm_lightning.arguments import as_json


def command(texts: list[str], flag: bool = False, more: list[str] | None = None, number: int = 1) -> None:
    """Options of each kind."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--texts", "a"], ['--texts=["a"]']),
        (["--texts", "a", "--texts", "b"], ['--texts=["a", "b"]']),
        (["--texts=a", "--texts=b=c"], ['--texts=["a", "b=c"]']),
        (["--texts", "a", "b", "--number", "2"], ["--number", "2", '--texts=["a", "b"]']),
        (["--texts", '{"x": 1}'], ['--texts=["{\\"x\\": 1}"]']),
        (["--texts", "-1"], ['--texts=["-1"]']),
        (["--texts", ""], ['--texts=[""]']),
        (["--more", "a", "--texts", "b"], ['--texts=["b"]', '--more=["a"]']),
        (["--flag"], ["--flag=true"]),
        (["--flag", "--number=3"], ["--flag=true", "--number=3"]),
        (["--flag", "false"], ["--flag", "false"]),
        (["--flag=false"], ["--flag=false"]),
        (["--help"], ["--help"]),
        (["--texts"], []),
        ([], []),
    ],
)
def test_lists_and_flags_become_json(given: list[str], expected: list[str]) -> None:
    assert as_json(given, command) == expected
