"""The error for mistakes that the user can correct, and the most frequent checks that raise it."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

from dssm_lightning.utils.suggestions import did_you_mean

MAX_FLOAT32 = 3.4e38
"""Greater numbers are infinite in float32."""


class UserError(ValueError):
    """A mistake that the user can correct. The message names the setting, the value found and the possible values.

    The command line prints the message without a traceback.

    Example:
        >>> from dssm_lightning.features import Vector
        >>> Vector(name="embedding", length=0)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: Vector feature 'embedding': length is 0; it must be at least 1
    """


def require_at_least(owner: str, name: str, value: float | None, minimum: float = 1, hint: str = "") -> None:
    """Refuse a number below ``minimum``; None passes.

    Args:
        owner: owner of the setting, such as a class or ``feature 'title'``.
        name: the setting.
        value: its value.
        minimum: the smallest allowed value.
        hint: advice that is appended in brackets.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be at least <minimum>``.

    Example:
        >>> require_at_least("WARP", "max_trials", 0)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: WARP: max_trials is 0; it must be at least 1
    """
    if value is not None and not (is_number(value) and value >= minimum):
        raise UserError(f"{owner}: {name} is {value!r}; it must be at least {minimum}{_brackets(hint)}")


def require_whole(owner: str, name: str, value: int | None, minimum: int = 1, hint: str = "") -> None:
    """Refuse anything but a whole number from ``minimum`` on, such as 2.5, True or "3"; None passes.

    Arguments as for :func:`require_at_least`.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be a whole number, at least <minimum>``.
    """
    if value is None:
        return
    if not is_whole(value):
        raise UserError(f"{owner}: {name} is {value!r}; it must be a whole number, at least {minimum}{_brackets(hint)}")
    require_at_least(owner, name, value, minimum, hint)


def require_positive(owner: str, name: str, value: float | None, hint: str = "") -> None:
    """Refuse a number that is not positive and finite in float32; None passes.

    Arguments as for :func:`require_at_least`.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be positive and finite``.
    """
    if value is not None and not (is_number(value) and 0 < value < MAX_FLOAT32):
        raise UserError(f"{owner}: {name} is {value!r}; it must be positive and finite{_brackets(hint)}")


def require_fraction(owner: str, name: str, value: float | None, hint: str = "") -> None:
    """Refuse a number outside [0, 1); None passes. Arguments as for :func:`require_at_least`.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be a fraction in [0, 1)``.
    """
    if value is not None and not (is_number(value) and 0 <= value < 1):
        raise UserError(f"{owner}: {name} is {value!r}; it must be a fraction in [0, 1){_brackets(hint)}")


def require_choice(owner: str, name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the choices, and suggest the most similar choice.

    Raises:
        UserError: ``<owner>: <name> is <value>; possible are <choices>``.
    """
    if value not in choices:
        possible = ", ".join(choices)
        raise UserError(f"{owner}: {name} is {value!r}; possible are {possible}{did_you_mean(str(value), choices)}")


def is_number(value: object) -> bool:
    """Return whether a value is a number, of Python or NumPy, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Return whether a value is a whole number, of Python or NumPy, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _brackets(hint: str) -> str:
    return f" ({hint})" if hint else ""
