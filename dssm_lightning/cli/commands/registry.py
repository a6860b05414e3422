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


COMMANDS = {
    "baseline": Command("Measure baselines, which need no training, by the same evaluation as a model."),
    "search": Command("Answer queries with a trained model."),
    "similar": Command("Show the candidates whose embeddings have the greatest cosine with that of a candidate."),
    "score": Command("Embed a query and candidates given as raw values, and compare them."),
    "export": Command("Write a trained model and its candidates as a bundle: a folder that answers without torch."),
    "inspect": Command("Show what is in a bundle, and compare its files with their checksums."),
    "index": Command("Build indexes of a bundle's candidates, measure them, and keep one in the bundle."),
    "push": Command("Copy a bundle to a file system, such as an object store, by its URL."),
    "pull": Command("Copy a bundle from a file system, such as an object store, into a folder."),
    "serve": Command(
        "Serve bundles over HTTP, with a page to look at them.",
        settings=("limits", "dssm_lightning.serving.settings", "Limits"),
    ),
    "summary": Command("Show the output shape and the parameters of every branch and layer of a model."),
    "compare": Command("Compare the tests of two runs query by query.", positional=True),
    "curves": Command("Draw a metric of several runs, epoch by epoch."),
    "report": Command("Write a report of a run, or of two runs side by side, as one HTML file."),
    "mine": Command("Write hard negatives of each training query, mined from a trained model."),
    "hashing-report": Command("Count the words that letter trigrams confuse, by feature."),
}


def function_of(name: str) -> Callable[..., Any]:
    """Import the module of a command, and return its function."""
    module = name.replace("-", "_")
    function: Callable[..., Any] = getattr(import_module(f"dssm_lightning.cli.commands.{module}"), module)
    return function


def _without_result(function: Callable[..., Any]) -> Callable[..., Any]:
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
    from dssm_lightning.cli.command_arguments import as_yaml
    from dssm_lightning.cli.spelling_parser import SpellingParser

    name, *options = words
    command, function = COMMANDS[name], _without_result(function_of(name))
    parser = SpellingParser(prog=f"dssm-lightning {name}", description=command.about)
    skipped: set[str | int] = {command.settings[0]} if command.settings else set()
    parser.add_function_arguments(function, as_group=False, as_positional=command.positional, skip=skipped)
    if command.settings is None:
        return function(**parser.parse_args(as_yaml(options, function)).as_dict())
    argument, module, kind = command.settings
    settings = getattr(import_module(module), kind)
    _add_fields(parser, settings)
    found = parser.parse_args(as_yaml(options, function)).as_dict()
    values = {field.name: found.pop(field.name) for field in fields(settings)}
    return function(**found, **{argument: settings(**values)})


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
