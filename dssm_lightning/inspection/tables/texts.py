"""Texts: their words, their script, and whether they are lists of categories or texts to read."""

from __future__ import annotations

import re

import polars as pl

from dssm_lightning.inspection.tables import words

_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[^\W\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]+"
_SCRIPTS = ("Latin", "Cyrillic", "Han", "Hiragana", "Hangul", "Arabic", "Hebrew", "Greek", "Devanagari", "Thai")
_READ = {
    *("title", "name", "description", "text", "query", "question", "answer", "review", "summary", "content", "body"),
    *("headline", "abstract", "caption", "comment", "message", "search", "term", "keyword", "plot", "overview", "doc"),
    *("positive", "anchor", "sentence", "passage", "document", "response", "prompt"),
}
"""Names of columns whose values are read, not compared."""
_SEPARATORS = ("|", ";", ",", "/", "::", ">")
MANY = 50
"""Distinct values from which words are a text, and not the names of categories."""


def word_counts(texts: pl.Series) -> pl.Series:
    """Return the number of words of each text; a sign of Chinese, Japanese or Thai is a word.

    Example:
        >>> word_counts(pl.Series(["red shoes, 42", "千と千尋", None])).to_list()
        [3, 4, None]
    """
    found: pl.Series = texts.str.count_matches(_WORD)
    return found


def script_of(texts: pl.Series) -> str | None:
    """Return the script of most letters; None without letters.

    Example:
        >>> script_of(pl.Series(["Война и мир"])), script_of(pl.Series(["千と千尋の神隠し"]))
        ('Cyrillic', 'Japanese')
    """
    sample = texts.drop_nulls().head(2_000)
    counts = {script: int(sample.str.count_matches(rf"\p{{{script}}}").sum()) for script in _SCRIPTS}
    best = max(counts, key=lambda script: counts[script])
    if best == "Han" and counts["Hiragana"] * 10 > counts["Han"]:
        return "Japanese"
    return {"Hiragana": "Japanese"}.get(best, best) if counts[best] else None


def separator_of(texts: pl.Series, name: str) -> str | None:
    """Return the text between entries that many rows share; None if the texts are no lists.

    Example:
        >>> separator_of(pl.Series(["Drama|War", "Drama", "War|Comedy"]), "genres")
        '|'
        >>> separator_of(pl.Series(["Heat, The (1995)", "Alien, again", "Up"]), "title") is None
        True
    """
    sample = texts.drop_nulls().unique(maintain_order=True).head(20_000)
    for sign in _SEPARATORS:
        if int(sample.str.contains(sign, literal=True).sum()) >= max(1, 0.1 * len(sample)) and _is_list(
            sample, sign, name
        ):
            return sign
    return None


def _is_list(sample: pl.Series, sign: str, name: str) -> bool:
    entries = sample.str.split(sign).explode().str.strip_chars().drop_nulls()
    entries = entries.filter(entries != "")
    if not len(entries) or _mean(entries.str.contains(r"[.!?]\s|https?:|^//")) > 0.02:
        return False
    counted = word_counts(entries)
    mean, longest = _mean(counted), int(str(counted.max() or 0))
    repeated = 1 - entries.n_unique() / len(entries)
    if sign == "|":
        return mean <= 4 and (repeated > 0.2 or len(sample) < MANY)
    is_read = words.has_word(name, _READ)
    least = 0.7 if is_read or sign == "/" else 0.4 if len(sample) >= MANY else 0.25
    return mean <= 3 and longest <= 8 and repeated >= least


def is_text(texts: pl.Series, name: str, distinct: int, counted: pl.Series) -> bool:
    """Return whether values are texts with words of their own, and not the names of categories.

    Args:
        texts: (n,) texts; null = missing.
        name: the column's name.
        distinct: number of distinct texts.
        counted: (n,) words of each text.
    """
    filled = max(1, len(texts) - texts.null_count())
    mean = _mean(counted)
    own = distinct / filled
    if not _has_spaces(texts):
        return False
    if words.is_key(name):
        return mean >= 3 and own > 0.5
    if words.has_word(name, _READ):
        return mean >= 1.3 or (own >= 0.5 and not _are_codes(texts))
    if mean >= 3:
        return distinct >= 5 or own > 0.5
    if mean >= 2 and distinct >= MANY:
        return not _are_codes(texts)
    return mean >= 1.5 and own >= 0.3 and not _are_codes(texts)


def _has_spaces(texts: pl.Series) -> bool:
    """Return whether some values have several words, by a blank or by a script that writes none."""
    sample = texts.drop_nulls().head(20_000)
    return _mean(sample.str.contains(r"\s|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{2}")) > 0.02


def _mean(values: pl.Series) -> float:
    return float(str(values.mean() or 0))


def _are_codes(texts: pl.Series) -> bool:
    """Return whether most values are single codes, such as B00-17 or an address of the web."""
    sample = texts.drop_nulls().head(1_000)
    code = re.compile(r"\S*\d\S*|https?://\S+|[\w.-]+@\S+")
    return sum(bool(code.fullmatch(text)) for text in sample) > len(sample) / 2
