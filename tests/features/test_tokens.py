"""Tokens of a tokenizer, and what they have in common with words."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.text.tokens import Tokens
from dssm_lightning.features.text.vocabulary_words import Words
from dssm_lightning.utils.errors import UserError

TEXTS = pl.Series("text", ["The cat, the dog.", "A dog (1995)", "кот & cat", "dog"])


def rows(feature, texts):
    ids = feature.encode(pl.Series("text", texts, dtype=pl.String))
    assert ids.values.dtype == torch.int32
    return [part.tolist() for part in ids.values.tensor_split(ids.offsets[1:-1])]


@pytest.fixture
def tokenizer_file(tmp_path):
    """A tokenizer as people bring it: with padding, truncation and special tokens."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "cat": 3, "dog": 4}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(2)
    tokenizer.add_tokens(["<new>"])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_empty_rows_and_their_error():
    fitted = Words(name="text", on_empty="allow").fit(TEXTS)
    assert rows(fitted, ["", "dog", None, " "]) == [[], [1], [], []]
    tokens = Tokens(name="text", on_empty="allow", vocab_size=100).fit(TEXTS)
    assert list(map(len, rows(tokens, ["", "dog", None, " "]))) == [0, 1, 0, 0]
    assert tokens.encode(pl.Series([], dtype=pl.String)).offsets.tolist() == [0]
    for feature in (Words(name="text"), Tokens(name="text")):
        with pytest.raises(UserError, match=r"'text': 1 of 2 texts .* row 1"):
            feature.fit(pl.Series(["a", None]))
        with pytest.raises(UserError, match="'text': column 'text' holds Int64"):
            feature.fit(pl.Series([1]))


def test_a_tokenizer_file_becomes_part_of_the_feature(tokenizer_file):
    unfitted = Tokens(name="text", tokenizer=str(tokenizer_file))
    assert not unfitted.is_fitted
    fitted = unfitted.fit(TEXTS)
    tokenizer_file.unlink()
    assert fitted.cardinality == 6
    assert rows(fitted, ["cat dog cat bird <new>", "dog"]) == [[3, 4, 3, 1, 5], [4]]
    assert fitted.fit(TEXTS) == fitted


def test_special_tokens_and_length(tokenizer_file):
    marked = Tokens(name="text", tokenizer=str(tokenizer_file), add_special_tokens=True, max_length=3).fit(TEXTS)
    assert rows(marked, ["cat dog cat", "dog"]) == [[2, 3, 4], [2, 4]]
    plain = Tokens(name="text", tokenizer=str(tokenizer_file), max_length=2).fit(TEXTS)
    assert rows(plain, ["cat dog cat", "dog"]) == [[3, 4], [4]]


@pytest.mark.parametrize("model", ["bpe", "wordpiece", "unigram"])
def test_a_tokenizer_is_trained_on_the_column(model):
    texts = pl.Series("text", ["retrieval of retrieved things", "things retrieve things", "Кот и коты"] * 5)
    fitted = Tokens(name="text", model=model, vocab_size=60).fit(texts)
    assert 10 < fitted.cardinality <= 60
    ids = rows(fitted, ["Things", "THINGS things", "\u4e00"])
    assert ids[1] == ids[0] * 2
    assert 0 not in ids[0]
    assert ids[2] == [0]  # never seen: the unknown token


@pytest.mark.parametrize("model", ["bpe", "wordpiece"])
def test_a_tokenizer_is_trained_alike_each_time(model):
    texts = pl.Series("text", [f"{word} {word[::-1]}" for word in ["alpha", "beta", "gamma", "delta", "кот", "日本"]])
    fitted = [Tokens(name="text", model=model, vocab_size=70).fit(texts) for _ in range(4)]
    assert fitted == fitted[:1] * 4


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("feature", [Words(name="w", column="text", max_tokens=3), Tokens(name="text", vocab_size=50)])
def test_json_gives_an_equal_feature(feature, fit):
    feature = feature.fit(TEXTS) if fit else feature
    copy = feature_from_dict(json.loads(json.dumps(feature.to_dict())))
    assert copy == feature
    assert copy.is_fitted == fit
    if fit:
        assert torch.equal(copy.encode(TEXTS).values, feature.encode(TEXTS).values)


def test_what_is_no_tokenizer_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'text': .*'nowhere\.json'"):
        Tokens(name="text", tokenizer="nowhere.json").fit(TEXTS)
    for content in (b"\xff\xfe", b"[1]", b'{"model": 3}', b"{", b""):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(UserError, match=r"'text': .*`tokenizers` library"):
            Tokens(name="text", tokenizer=str(tmp_path / "t.json")).fit(TEXTS)


def test_a_json_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "tokenizer_config.json"
    path.write_text('{"do_lower_case": true, "unk_token": "[UNK]", "model_max_length": 512}', encoding="utf-8")
    with pytest.raises(UserError, match=r"'text': '.*tokenizer_config.json' .* do_lower_case, unk_token, .*no `model`"):
        Tokens(name="text", tokenizer=str(path)).fit(TEXTS)


def test_a_text_of_ten_megabytes_is_cut_and_counted():
    texts = pl.Series("text", ["cat dog", "dog " * 2_500_000, "猫" * 100_001])
    message = r"'t': 2 of 3 texts .*100,000 characters, .*\(10,000,000\) in row 1 of column 'text'.*max_characters"
    for feature in (Words(name="t", column="text"), Tokens(name="t", column="text", vocab_size=20)):
        with pytest.warns(UserWarning, match=message):
            fitted = feature.fit(texts)
        with pytest.warns(UserWarning, match=message):
            lengths = fitted.encode(texts).lengths.tolist()
        assert lengths[1] <= 50_000
    assert Words(name="t", vocabulary=("dog",)).encode(pl.Series(["dog " * 25_000])).lengths.tolist() == [25_000]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Words(name="t", max_tokens=0), "'t': max_tokens is 0"),
        (lambda: Words(name="t", max_length=-1), "'t': max_length is -1"),
        (lambda: Words(name="t").encode(TEXTS), "'t': vocabulary is not known"),
        (lambda: Tokens(name="t", model="char"), "'t': model is 'char'; .*bpe, wordpiece, unigram"),
        (lambda: Tokens(name="t", vocab_size=0), "'t': vocab_size is 0"),
        (lambda: Tokens(name="t").encode(TEXTS), "'t': tokenizer is not known.*fit"),
        (lambda: Tokens(name="t", tokenizer="some.json").cardinality, "'t': tokenizer is not known"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(UserError, match=message):
        make()
