"""The commands that are plain functions: the arguments of a function are the options of its command."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from itertools import pairwise
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

if TYPE_CHECKING:
    from dssm_lightning.cli.spelling_parser import SpellingParser


class Command(NamedTuple):
    """A command. Its module is imported only when the command runs."""

    about: str  # the first line of the function's docstring
    positional: bool = False  # whether required arguments are given without their names
    settings: tuple[str, str, str] | None = None  # an argument whose fields are options; module and class
    example: str = ""  # a command line, without the program's name


COMMANDS = {
    "init": Command(
        "Look at your tables, and write a commented config that is good for them.",
        example="init --interactions clicks.csv --candidates products.csv",
    ),
    "doctor": Command(
        "Look at a config and its data before training, and say what to change.",
        example="doctor --config configs/tldr.yaml",
    ),
    "tune": Command(
        "Search for better settings of a config by fits that are compared on its validation rows.",
        example="tune --config configs/tldr.yaml --trials 20 --time 1h",
    ),
    "baseline": Command(
        "Measure baselines, which need no training, by the same evaluation as a model.",
        example="baseline --config configs/tldr.yaml",
    ),
    "runs": Command(
        "List the runs of the working folder: what they reached, and how they ended.",
        example="runs --config configs/tldr.yaml",
    ),
    "search": Command("Answer queries with a trained model.", example="search --query 'grinning cat' --k 5"),
    "similar": Command(
        "Show the candidates whose embeddings have the greatest cosine with that of a candidate.",
        example="similar --id 1F431 --k 5",
    ),
    "score": Command(
        "Embed a query and candidates given as raw values, and compare them.",
        example="score --input cat.json --bundle bundle",
    ),
    "rank": Command(
        "Order given lists of candidates by a trained model.",
        example="rank --input lists.jsonl --bundle bundle --output ranked.jsonl",
    ),
    "export": Command(
        "Write a trained model and its candidates as a bundle: a folder that answers without torch.",
        example="export --output bundle --vectors int8",
    ),
    "inspect": Command(
        "Show what is in a bundle, and compare its files with their checksums.", example="inspect --bundle bundle"
    ),
    "index": Command(
        "Build indexes of a bundle's candidates, measure them, and keep one in the bundle.",
        example="index --bundle bundle --factory HNSW32 --precision int8",
    ),
    "push": Command(
        "Copy a bundle to a file system, such as an object store, by its URL.",
        example="push --bundle bundle --url s3://shop/bundle",
    ),
    "pull": Command(
        "Copy a bundle from a file system, such as an object store, into a folder.",
        example="pull --url s3://shop/bundle --output bundle",
    ),
    "serve": Command(
        "Serve bundles over HTTP, with a page to look at them.",
        settings=("limits", "dssm_lightning.serving.settings", "Limits"),
        example="serve --bundle bundle --port 8000",
    ),
    "summary": Command(
        "Show the output shape and the parameters of every branch and layer of a model.",
        example="summary --config configs/tldr.yaml --plot towers.svg",
    ),
    "compare": Command(
        "Compare the tests of two runs query by query.",
        positional=True,
        example="compare runs/tldr/version_0 runs/tldr/version_1",
    ),
    "curves": Command(
        "Draw a metric of several runs, epoch by epoch.",
        example="curves --config configs/tldr.yaml --metric val/mrr --plot c.svg",
    ),
    "report": Command(
        "Write a report of a run, or of two runs side by side, as one HTML file.",
        example="report --run runs/tldr/version_0 --output report.html",
    ),
    "mine": Command(
        "Write hard negatives of each training query, mined from a trained model.",
        example="mine --rank_range '[10, 60]' --output mined.parquet",
    ),
    "hashing-report": Command(
        "Count the words that letter trigrams confuse, by feature.", example="hashing-report --config configs/tldr.yaml"
    ),
    "completion": Command(
        "Show the script by which a shell completes commands, options and files.",
        positional=True,
        example="completion bash > dssm-lightning.bash",
    ),
}


def function_of(name: str) -> Callable[..., Any]:
    """Import the module of a command, and return its function."""
    module = name.replace("-", "_")
    function: Callable[..., Any] = getattr(import_module(f"dssm_lightning.cli.commands.{module}"), module)
    return function


def settings_class(name: str) -> type[Any] | None:
    """Import the class whose fields are options of a command; None without one."""
    named = COMMANDS[name].settings
    found: type[Any] | None = None if named is None else getattr(import_module(named[1]), named[2])
    return found


def without_result(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function without the annotation of its result, whose type only type checkers import."""
    assert isinstance(function, FunctionType)
    bare = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    bare.__annotations__ = {name: kind for name, kind in function.__annotations__.items() if name != "return"}
    bare.__annotations__ = get_type_hints(bare)
    bare.__doc__ = function.__doc__
    bare.__module__ = __name__  # the parser resolves names in it, and a command's module lacks those of TYPE_CHECKING
    return bare


def run_command(words: list[str]) -> Any:
    """Run the command of the first word with the other words as its options, and return its result."""
    return function_of(words[0])(**arguments_of(words))


def arguments_of(words: list[str]) -> dict[str, Any]:
    """Return the arguments of a command's function: the first word is its name, the others are its options."""
    from dssm_lightning.cli.command_arguments import as_yaml
    from dssm_lightning.cli.spelling_parser import SpellingParser

    name, *options = words
    command, function = COMMANDS[name], without_result(function_of(name))
    parser = SpellingParser(prog=f"dssm-lightning {name}", description=command.about)
    parser.example = command.example
    skipped: set[str | int] = {command.settings[0]} if command.settings else set()
    parser.add_function_arguments(function, as_group=False, as_positional=command.positional, skip=skipped)
    settings = settings_class(name)
    if command.settings is None or settings is None:
        return dict(parser.parse_args(as_yaml(options, function)).as_dict())
    _add_fields(parser, settings)
    found = dict(parser.parse_args(as_yaml(options, function)).as_dict())
    values = {field.name: found.pop(field.name) for field in fields(settings)}
    return {**found, command.settings[0]: settings(**values)}


def _add_fields(parser: SpellingParser, settings: type[Any]) -> None:
    """Make the fields of a dataclass options; what is written below a field is its help."""
    about = field_texts(settings)
    for field in fields(settings):
        kind = get_type_hints(settings)[field.name]
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, help=about[field.name])


def field_texts(settings: type[Any]) -> dict[str, str]:
    """Return what is written below each field of a dataclass, as the help of an option."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in pairwise(tree.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            said = str(text.value.value).rstrip(".").replace("``", "")
            said = re.sub(r": (\d{3})$", r"; else status \1", said)
            found[ast.unparse(field.target)] = said[0].lower() + said[1:]
    return found
