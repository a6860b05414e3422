"""The error of everything that the user can mend, and the checks that raise it most often."""

from __future__ import annotations

from collections.abc import Sequence

from dssm_lightning.utils.suggestions import did_you_mean


class UserError(ValueError):
    """What the user can mend: the message names the thing, what was found and what is possible.

    The command line shows it as one line, without a traceback.
    """


def require_at_least(owner: str, name: str, value: float | None, minimum: float = 1, hint: str = "") -> None:
    """Refuse a number below ``minimum``; None passes.

    Args:
        owner: whose setting it is, such as a class or ``feature 'title'``.
        name: the setting.
        value: what it is set to.
        minimum: the smallest number that is allowed.
        hint: what to do instead, put in brackets after the message.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be at least <minimum>``.

    Example:
        >>> require_at_least("WARP", "max_trials", 0)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: WARP: max_trials is 0; it must be at least 1
    """
    if value is not None and not value >= minimum:
        raise UserError(f"{owner}: {name} is {value}; it must be at least {minimum}{_brackets(hint)}")


def require_positive(owner: str, name: str, value: float | None, hint: str = "") -> None:
    """Refuse a number that is not above 0, or not finite; None passes. Arguments as for :func:`require_at_least`.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be positive``.
    """
    if value is not None and not 0 < value < float("inf"):
        raise UserError(f"{owner}: {name} is {value}; it must be positive and finite{_brackets(hint)}")


def require_fraction(owner: str, name: str, value: float | None, hint: str = "") -> None:
    """Refuse what is no fraction in [0, 1); None passes. Arguments as for :func:`require_at_least`.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be a fraction in [0, 1)``.
    """
    if value is not None and not 0 <= value < 1:
        raise UserError(f"{owner}: {name} is {value}; it must be a fraction in [0, 1){_brackets(hint)}")


def require_choice(owner: str, name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices, and suggest the nearest one.

    Raises:
        UserError: ``<owner>: <name> is <value>; possible are <choices>``.
    """
    if value not in choices:
        possible = ", ".join(choices)
        raise UserError(f"{owner}: {name} is {value!r}; possible are {possible}{did_you_mean(value, choices)}")


def _brackets(hint: str) -> str:
    return f" ({hint})" if hint else ""
