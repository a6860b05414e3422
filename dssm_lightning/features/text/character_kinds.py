"""What a character does to the words around it: blank, letter, joiner or mark."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

SPACE, LETTER, JOINER, MARK = range(4)
"""Ends a word · belongs to it · belongs to it between two letters · belongs to it only between two blanks."""

STOP = 0x20000
"""Tables have a row for each lower code point. The last row is a letter (U+1FFFF is no character), and represents all
higher code points, none of which is punctuation or whitespace."""

_OF_CATEGORY = dict.fromkeys(("Cc", "Zs", "Zl", "Zp"), SPACE)
_OF_CATEGORY |= dict.fromkeys(("Pd", "Pc"), JOINER) | dict.fromkeys(("Ps", "Pe", "Pi", "Pf", "Po"), MARK)
_EXCEPTIONS = dict.fromkeys("#%+", LETTER) | dict.fromkeys(".'’&@*:·", JOINER) | dict.fromkeys("<=>^`|~", MARK)


def kind(letter: str) -> int:
    """Return the kind of a character.

    Example:
        >>> [kind(letter) for letter in " é-!"] == [SPACE, LETTER, JOINER, MARK]
        True
    """
    return _EXCEPTIONS.get(letter, _OF_CATEGORY.get(unicodedata.category(letter), LETTER))


def is_visible(text: str) -> bool:
    """Return whether a text has a character that is neither whitespace nor a control character."""
    return any(kind(letter) != SPACE for letter in text)


@lru_cache(maxsize=2)
def kinds(stop: int = STOP) -> NDArray[np.uint8]:
    """Return the kinds of the code points below ``stop`` as an array (stop,), which is made once in a process."""
    categories = map(unicodedata.category, map(chr, range(stop)))
    found = np.fromiter(map(_OF_CATEGORY.get, categories, repeat(LETTER)), np.uint8, stop)
    for letter, exception in _EXCEPTIONS.items():
        if ord(letter) < stop:
            found[ord(letter)] = exception
    return found
