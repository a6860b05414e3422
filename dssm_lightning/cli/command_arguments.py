"""Arguments of the commands that are plain functions: lists of texts and flags become values of YAML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from dssm_lightning.utils.errors import UserError


def as_yaml(arguments: list[str], command: Callable[..., Any]) -> list[str]:
    r"""Return the arguments with a command's lists and its flags as values of YAML.

    ``--query a --query b``, ``--query=a --query=b`` and ``--query a b`` all become ``--query=["a", "b"]``, so that a
    text is never parsed as YAML, and so do lists of numbers. A flag without a value, such as ``--json``, becomes
    ``--json=true``.

    Example:
        >>> def search(query: list[str], json: bool = False) -> None: ...
        >>> as_yaml(["--query", "yes", "--json", "--query=💥"], search)
        ['--json=true', '--query=["yes", "\\U0001f4a5"]']
    """
    hints = get_type_hints(command)
    kinds = {name: (hint, *get_args(hint)) for name, hint in hints.items()}
    lists: dict[str, list[str]] = {name: [] for name, kind in kinds.items() if list[str] in kind or list[float] in kind}
    others: list[str] = []
    open_list: list[str] | None = None  # the list of the option before, which takes further words
    for place, argument in enumerate(arguments):
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            (others if open_list is None else open_list).append(argument)
            continue
        open_list = lists.get(name)
        if open_list is None:
            has_value = equals or arguments[place + 1 : place + 2] in (["true"], ["false"])
            others.append(f"{argument}=true" if hints.get(name) is bool and not has_value else argument)
        elif equals:
            open_list.append(value)
    texts = {name for name, kind in kinds.items() if list[str] in kind}
    return others + [
        f"--{name}=[{', '.join(map(_quoted, values) if name in texts else values)}]"
        for name, values in lists.items()
        if values
    ]


def take_flag(words: list[str], flag: str) -> tuple[list[str], bool | None]:
    """Return the words without a flag, and its last value: None if it is not given, true if it has no value.

    Raises:
        UserError: a value that is neither true nor false.

    Example:
        >>> take_flag(["fit", "--baselines", "false", "--verbose"], "--baselines")
        (['fit', '--verbose'], False)
        >>> take_flag(["fit", "--refit"], "--refit")
        (['fit'], True)
    """
    kept, found, skips = list[str](), None, False
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if skips or name != flag:
            kept += [] if skips else [word]
            skips = False
            continue
        skips = not equals and following in ("true", "false")
        value = value if equals else following if skips else "true"
        if value not in ("true", "false"):
            raise UserError(f"{flag} is {value!r}; it must be true or false")
        found = value == "true"
    return kept, found


def require_unicode(arguments: list[str]) -> None:
    """Refuse arguments that are no texts: Python keeps bytes that are not UTF-8 as halves of characters.

    Raises:
        UserError: such an argument.
    """
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(f"the argument {argument!r} is not UTF-8") from error


def require_with(name: str, value: object, other: str, given: bool) -> None:
    """Refuse an option that only means something with another one; None = it was not given.

    Raises:
        UserError: the option was given without the other one.

    Example:
        >>> require_with("--hybrid_weight", 2.0, "--hybrid", False)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: --hybrid_weight 2.0 means nothing without --hybrid: add --hybrid, or \
leave --hybrid_weight out
    """
    if value is not None and not given:
        raise UserError(f"{name} {value} means nothing without {other}: add {other}, or leave {name} out")


def _quoted(text: str) -> str:
    """Return a text in the quotes of YAML: JSON writes characters beyond U+FFFF as two halves, which YAML refuses."""
    plain = [each if " " <= each <= "~" and each not in '"\\' else f"\\U{ord(each):08x}" for each in text]
    return f'"{"".join(plain)}"'
