"""Spelling and words of texts, one character after another: what the rules of ``words_and_letters.py`` say."""

from __future__ import annotations

import unicodedata


def naive_spelled(text: str) -> str:
    """One text in one form, as Unicode's D146 has it; no run of more than 30 combining marks may be in it."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def naive_kind(letter: str) -> str:
    """What one character does to the words around it."""
    category = unicodedata.category(letter)
    if category in ("Cc", "Zs", "Zl", "Zp"):
        return "space"
    if letter in "#%+":
        return "letter"
    if letter in ".'’&@*:·" or category in ("Pd", "Pc"):
        return "joiner"
    return "mark" if category.startswith("P") or letter in "<=>^`|~" else "letter"


def naive_words(text: str) -> list[str]:
    """The words of one text, letter by letter."""
    words = []
    for chunk in "".join(" " if naive_kind(letter) == "space" else letter for letter in naive_spelled(text)).split(" "):
        kinds = ["space", *map(naive_kind, chunk), "space"]
        if "letter" not in kinds:
            words.append(chunk)
            continue
        kept = ""
        for place, letter in enumerate(chunk, start=1):
            inside = kinds[place - 1] == kinds[place + 1] == "letter"
            kept += letter if kinds[place] == "letter" or (kinds[place] == "joiner" and inside) else " "
        words += kept.split(" ")
    return [word for word in words if word]
