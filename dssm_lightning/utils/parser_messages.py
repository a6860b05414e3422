"""Messages of jsonargparse in one line."""

from __future__ import annotations

import re


def in_one_line(message: str) -> str:
    r"""Return a message of several lines, as jsonargparse has them for a value of another type, as one line.

    Example:
        >>> in_one_line("Parser key \"k\":\n  Expected a <class 'int'>. Got value: 2.0")
        '--k: Expected a int. Got value: 2.0'
    """
    line = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", " ".join(message.split()))
    line = re.sub(r'^Parser key "([\w.]+)":', r"--\1:", line)
    union = re.fullmatch(
        r"(.*?)Does not validate against any of the Union subtypes Subtypes: \[([^\[\]]*)\] "
        r"Errors: (?:- Expected a \w+(?:\. Got value: .*?)? )+Given value type: \w+ Given value: (.*)",
        line,
    )
    if union is None:
        return line
    return f"{union[1]}{union[3]} must be {union[2].replace('NoneType', 'null').replace(', ', ' or ')}"
