"""Words, n-grams and hashes against loops over texts, words and characters."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from helpers.naive_texts import naive_spelled, naive_words

from dssm_lightning.features.text.ngrams import lookup, ngrams, word_hashes
from dssm_lightning.features.text.words_and_letters import normalised_texts, pieces, single_words, word_strings
from dssm_lightning.utils.hashing import buckets, mix64_

MASK = (1 << 64) - 1
ALPHABETS = {
    "ascii": list(map(chr, range(128))),
    "words": list("abcXYZ019   .'-_#+&!?,"),
    "cyrillic": list("абвЖЩЁё ъь—«»  "),
    "cjk": list("日本語東京 、。ｶﾞ㍻　"),
    "emoji": ["😀", "👩\u200d💻", "✌🏽", "🇩🇪", " ", "❤\ufe0f", ":"],
    "marks": ["e", "\u0301", "\u0308", "\u0345", "ο", " ", "ﬁ", "ß", "İ", "½", "™", "ΐ", "Ϊ"],
    "rtl": [*"שלום مرحبا", "\u200f", "\u200c"],
    "blank": [" ", "\t", "\u00a0", "\u2028", "\x00", "\x01", "\x85", "\u3000", "\x1f"],
    "planes": ["\U0010ffff", "\U000e0001", "\U0001f600", "\ue000", "\u0378", "𝔄", "a", " "],
}


def random_texts(seed: int, count: int) -> list[str]:
    """Texts of every script, empty and blank ones among them, some of several scripts."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        letters = ALPHABETS[draw.choice(list(ALPHABETS))]
        if draw.random() < 0.3:
            letters = letters + ALPHABETS[draw.choice(list(ALPHABETS))]
        texts.append("".join(draw.choices(letters, k=draw.randint(0, 25))))
    return texts


def naive_mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def naive_word_hash(word: str) -> int:
    return naive_mix(sum(naive_mix(i * 0x9E3779B97F4A7C15 + ord(c) & MASK) for i, c in enumerate(word)) & MASK)


def naive_key(symbols: list[int]) -> int:
    key = 0
    for symbol in symbols:
        key = key * 2097153 + symbol
    return (key + len(symbols) * 0x9E3779B97F4A7C15) & MASK


def naive_ngrams(text: str, unit: str, min_n: int, max_n: int) -> list[int]:
    """Keys of one text's n-grams, ordered by where they start, then by n."""
    keys = []
    words = naive_words(text)
    if unit == "words":
        hashes = [naive_word_hash(word) for word in words]
        for start in range(len(words)):
            keys += [naive_key(hashes[start : start + n]) for n in range(min_n, max_n + 1) if start + n <= len(words)]
        return keys
    for word in words:
        letters = [0, *map(ord, word), 0]
        for start in range(len(letters)):
            for n in range(min_n, max_n + 1):
                if start + n <= len(letters) and any(letters[start : start + n]):
                    keys.append(naive_key(letters[start : start + n]))
    return keys


def rows_of(texts: list[str | None], unit: str, min_n: int, max_n: int) -> list[list[int]]:
    rows = []
    for letters in pieces(pl.Series(texts, dtype=pl.String)):
        keys, lengths = ngrams(letters, unit, min_n, max_n)
        rows += [part.tolist() for part in np.split(keys, np.cumsum(lengths)[:-1])] if len(lengths) else []
    return rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Toy Story (1995)", ["toy", "story", "1995"]),
        ("C# and c++, or F#?", ["c#", "and", "c++", "or", "f#"]),
        ("don't-stop node.js AT&T u.s.", ["don't-stop", "node.js", "at&t", "u.s"]),
        ("--verbose [n]ame 'quoted'", ["verbose", "n", "ame", "quoted"]),
        ("wait...what", ["wait", "what"]),
        ("!? 'Tom & Jerry'", ["!?", "tom", "&", "jerry"]),
        ("ＦＵＬＬ　ﬁne Straße", ["full", "fine", "strasse"]),
        ("«Война и мир»", ["война", "и", "мир"]),
        ("👩\u200d💻 50% 3.5", ["👩\u200d💻", "50%", "3.5"]),
        (" \t\x00\x01\u3000", []),
    ],
)
def test_words_of_one_text(text, words):
    assert word_strings(pl.Series([text]))[0].to_list() == words
    assert naive_words(text) == words


def test_words_equal_the_naive_ones():
    texts = random_texts(0, 3000)
    words, counts = word_strings(pl.Series(texts))
    expected = [naive_words(text) for text in texts]
    assert counts.tolist() == [len(row) for row in expected]
    assert words.to_list() == [word for row in expected for word in row]
    hashes = np.concatenate([word_hashes(letters)[0] for letters in pieces(pl.Series(texts))])
    assert hashes.tolist() == [naive_word_hash(word) for row in expected for word in row]


def test_single_words_are_those_that_fill_their_texts():
    texts = [*random_texts(3, 3000), "Cat", "a cat", "(cat)", "C#", "", " cat", "é", "ﬁ", "ﷺ", "é" * 70_000, "x"]
    expected = [
        (row, naive_spelled(text)) for row, text in enumerate(texts) if naive_words(text) == [naive_spelled(text)]
    ]
    words, rows = single_words(pl.Series(texts))
    assert list(zip(rows.tolist(), words.to_list(), strict=True)) == expected


def test_one_spelling_whatever_the_case_and_the_form():
    spellings = ["café", "CAFÉ", "cafe\u0301", "ＣＡＦÉ"]
    assert normalised_texts(spellings) == ["café"] * 4
    assert len(set(normalised_texts(["ΐ", "Ϊ\u0301", "Ϊ́"]))) == 1  # case folding alone decomposes ΐ


@pytest.mark.parametrize("n", [(1, 1), (2, 2), (3, 3), (1, 3), (2, 5), (4, 4)])
@pytest.mark.parametrize("unit", ["letters", "words"])
def test_ngrams_equal_the_naive_ones(unit, n):
    texts = random_texts(sum(n), 600)
    assert rows_of(texts, unit, *n) == [naive_ngrams(text, unit, *n) for text in texts]


def test_a_text_gives_the_same_ngrams_alone_and_in_any_batch():
    texts = ["\u0301e", "e", "\u0301", "a\x01b", "a\x00b", "", " ", "日本", "plain", "ﬁ\u0308", "e\u0301", "\x01"]
    together = rows_of(texts, "letters", 1, 3)
    assert together == [rows_of([text], "letters", 1, 3)[0] for text in texts]
    assert together[::-1] == rows_of(texts[::-1], "letters", 1, 3)
    assert rows_of(["a\x01b", "a\x00b", "a b"], "letters", 3, 3)[0] == rows_of(["a b"], "letters", 3, 3)[0]


def test_pieces_cut_between_texts_only():
    texts = [
        "x" * 70_000 + " é",
        "",
        "ab " * 50_000,
        *random_texts(1, 3000),
        "y" * 65_535,
        "z",
        *(letter * 131_072 for letter in "wvu"),
    ]
    parts = list(pieces(pl.Series(texts)))
    assert len(parts) > 4
    assert sum(len(part.starts) - 1 for part in parts) == len(texts)
    assert all(part.codes[0] == part.codes[-1] == 0 for part in parts)
    assert rows_of(texts, "letters", 3, 3) == [naive_ngrams(text, "letters", 3, 3) for text in texts]


def test_null_and_no_texts():
    assert rows_of([None, "a", None], "letters", 3, 3) == [[], naive_ngrams("a", "letters", 3, 3), []]
    assert rows_of([None], "words", 1, 2) == [[]]
    assert rows_of([], "letters", 1, 3) == []
    words, counts = word_strings(pl.Series([], dtype=pl.String))
    assert len(words) == len(counts) == 0


def test_keys_of_up_to_three_letters_are_their_own():
    texts = ["".join(random.Random(2).choices("ab日\U0010ffffé¬", k=4000))]
    codes = [0, *map(ord, naive_words(texts[0])[0]), 0]
    distinct = {(n, *codes[i : i + n]) for n in (1, 2, 3) for i in range(len(codes) - n + 1) if any(codes[i : i + n])}
    assert len(set(rows_of(texts, "letters", 1, 3)[0])) == len(distinct)


def test_mix64_is_splitmix64():
    # The first numbers of splitmix64 with seed 1234567 (Vigna's reference code; the seed steps by the golden ratio).
    states = np.array([(1234567 + i * 0x9E3779B97F4A7C15) & MASK for i in (1, 2, 3)], np.uint64)
    assert mix64_(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("num_buckets", [1, 7, 30_000, 2**16, 2**30, 2**31 - 1])
def test_buckets_are_even_and_in_range(num_buckets):
    keys = np.arange(100_000, dtype=np.uint64)
    ids = buckets(keys.copy(), num_buckets)
    assert ids.dtype == np.int32
    assert ids.tolist() == [(naive_mix(key) >> 32) * num_buckets >> 32 for key in range(100_000)]
    share = np.bincount(ids * 7 // num_buckets if num_buckets <= 7 else ids // (num_buckets // 7 + 1)) / len(ids)
    assert np.allclose(share, 1 if num_buckets == 1 else 1 / 7, atol=0.01)


@pytest.mark.parametrize("bits", range(1, 31))
def test_a_power_of_two_is_scaled_as_any_number_of_buckets_is(bits):
    keys = np.append(np.arange(500, dtype=np.uint64), np.uint64(MASK))
    assert buckets(keys.copy(), 1 << bits).tolist() == [(naive_mix(key) >> 32) * 2**bits >> 32 for key in keys.tolist()]


@pytest.mark.parametrize("count", [0, 1, 3, 50])
@pytest.mark.parametrize("known", [0, 1, 10])
def test_lookup_finds_what_is_known(count, known):
    draw = np.random.default_rng(count)
    vocabulary = np.sort(draw.choice(2**63, known).astype(np.uint64) * np.uint64(2))
    rows = draw.permutation(known).astype(np.int32) + np.int32(1)
    keys = np.append(draw.choice(vocabulary, count) if known else vocabulary, np.uint64(5))
    expected = [dict(zip(vocabulary.tolist(), rows.tolist(), strict=True)).get(key, 0) for key in keys.tolist()]
    found = lookup(keys, vocabulary, rows)
    assert found.dtype == np.int32
    assert found.tolist() == expected
