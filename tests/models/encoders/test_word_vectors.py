"""Pretrained word vectors: their files, their mean, and files that do not fit."""

from __future__ import annotations

import json
import struct

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.text.vocabulary_words import Words
from dssm_lightning.features.text.word_vector_files import read_vector_table
from dssm_lightning.models.encoders.word_vectors import WordVectors
from dssm_lightning.utils.errors import UserError

GLOVE = "the 1 0 0\nCat 0 1 0\ncat 9 9 9\n, 5 5 5\nNew-York 0 0 2\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.3d.txt"
    path.write_text(GLOVE, encoding="utf-8")
    return path


def fitted(path, **options):
    return Words(name="text", vectors=str(path), **options).fit(pl.Series(["only a dog"]))


def encode(feature, encoder, *texts):
    return encoder(feature.encode(pl.Series(texts))).tolist()


def test_the_mean_of_the_known_words(glove):
    feature = fitted(glove, on_empty="allow")
    assert feature.vocabulary == ("the", "cat", ",", "new-york")  # Cat and cat: the first vector
    encoder = WordVectors(feature)
    assert encoder.output_dim == 3
    vectors = encode(feature, encoder, "The New-York dog", "CAT", "dog", "")
    assert vectors == [[0.5, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_word2vec_and_safetensors_files_give_the_same_vectors(glove, tmp_path):
    expected = read_vector_table(glove, "t")
    (tmp_path / "w2v.vec").write_text(f"5 3\n{GLOVE}", encoding="utf-8")
    words = [line.split(" ")[0] for line in GLOVE.splitlines()]
    matrix = np.array([line.split(" ")[1:] for line in GLOVE.splitlines()], np.float16)
    save_file({"vectors": matrix}, tmp_path / "w.safetensors", metadata={"words": json.dumps(words)})
    for name in ("w2v.vec", "w.safetensors"):
        table = read_vector_table(tmp_path / name, "t")
        assert table.words.to_list() == expected.words.to_list()
        assert table.vectors.tolist() == expected.vectors.tolist()


def test_max_tokens_takes_the_first(glove):
    assert fitted(glove, max_tokens=1).vocabulary == ("the",)


def test_frozen_unless_trainable(glove):
    feature = fitted(glove)
    assert not any(parameter.requires_grad for parameter in WordVectors(feature).parameters())
    trained = WordVectors(feature, trainable=True)
    trained(feature.encode(pl.Series(["the dog"]))).sum().backward()
    assert trained.table.weight.grad[:, 0].tolist() == [0, 1, 0, 0, 0]  # the row of unknown words is never trained


def test_a_trained_model_needs_no_file(glove):
    feature = fitted(glove)
    weights = WordVectors(feature).state_dict()
    glove.unlink()
    copy = feature_from_dict(json.loads(json.dumps(feature.to_dict())))
    with pytest.warns(UserWarning, match=r"'text': .*glove.3d.txt'.*checkpoint"):
        encoder = WordVectors(copy)
    assert encoder.table.weight.isnan().all()
    encoder.load_state_dict(weights)
    assert encode(copy, encoder, "the") == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2\ncat 1 2 3\n", "line 2 has 3 numbers, .* 2;"),
        (b"the 1 2\ncat 1 x\n", "line 2 .*: 'cat 1 x'"),
        (b"the\ncat\n", "line 1 has no numbers"),
        (b"3 2\n", ".*no vectors"),
        (b"", "line 1 has no numbers"),
        (b"the 1 2\ncat 1 nan\n", "the vector of 'cat' holds NaN or infinity"),
        (b"the 1 2\ncaf\xe9 1 2\n", "line 2 .*UTF-8"),
        (b"</s> 1 2\n(x 1 2\na,b 1 2", ".* 3 words"),
    ],
)
def test_files_without_word_vectors(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"feature 'text': '.*bad.txt': {message}"):
        fitted(path)


def test_safetensors_without_word_vectors(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"bad.safetensors'.*not a safetensors file"):
        fitted(path)
    save_file({"a": np.zeros((2, 2)), "b": np.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"bad.safetensors'.* 2 tensors.*\(V, D\).*`words`"):
        fitted(path)
    save_file({"a": np.zeros((2, 2))}, path, metadata={"words": '["one"]'})
    with pytest.raises(ValueError, match=r"bad.safetensors'.* 1 words for 2 vectors"):
        fitted(path)


def raw_safetensors(path, shape, kind="F32", content=b"", claimed=None):
    tensor = {"dtype": kind, "shape": shape, "data_offsets": [0, len(content) if claimed is None else claimed]}
    header = json.dumps({"__metadata__": {"words": '["a", "b"]'}, "vectors": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)


@pytest.mark.parametrize(
    ("shape", "claimed"), [([10**12, 300], 12 * 10**14), ([10**12, 300], None), ([2**62, 8], None)]
)
def test_a_size_that_the_file_does_not_have_is_refused_before_memory_is_taken(tmp_path, shape, claimed):
    path = tmp_path / "bad.safetensors"
    raw_safetensors(path, shape, content=bytes(16), claimed=claimed)
    with pytest.raises(UserError, match=r"bad.safetensors'.*not a safetensors file"):
        fitted(path)
    path.write_bytes(struct.pack("<Q", 10**12) + b"{}")  # the size of the header
    with pytest.raises(UserError, match=r"bad.safetensors'.*not a safetensors file"):
        fitted(path)


@pytest.mark.parametrize(("kind", "size"), [("I64", 8), ("BOOL", 1), ("BF16", 2)])
def test_numbers_that_are_no_vectors_are_refused(tmp_path, kind, size):
    path = tmp_path / "bad.safetensors"
    raw_safetensors(path, [2, 3], kind, bytes(6 * size))
    with pytest.raises(UserError, match=rf"bad.safetensors'.*{kind}.*F16, F32, F64"):
        fitted(path)
    raw_safetensors(path, [2, 0])
    with pytest.raises(UserError, match=r"bad.safetensors'.*\[2, 0\]"):
        fitted(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('["a"', "not valid JSON"),
        ('{"a": 1}', "no JSON list"),
        ("[1, 2]", "no JSON list"),
        ('["a", null]', "no JSON list"),
        ("[" * 100_000, "nested too deeply"),
        ('["a", "\\ud800"]', "half of a character"),
    ],
)
def test_words_that_are_none_are_one_line(tmp_path, words, message):
    path = tmp_path / "bad.safetensors"
    save_file({"vectors": np.zeros((2, 3), np.float32)}, path, metadata={"words": words})
    with pytest.raises(UserError, match=f"bad.safetensors'.*`words` in its metadata.*{message}") as raised:
        fitted(path)
    assert "\n" not in str(raised.value)


def test_a_text_file_that_is_cut_off_is_refused(tmp_path):
    """As after a download that broke off: the words that are missing would be unknown ones."""
    path = tmp_path / "half.txt"
    path.write_text("1000000000000 2\nthe 1 2\ncat 3 4\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"half.txt': line 1 announces 1000000000000 words, and 2 lines follow"):
        fitted(path)


def test_the_mark_of_some_editors_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfthe 1 2\n")
    assert read_vector_table(tmp_path / "marked.txt", "feature 'text'").words.to_list() == ["the"]


def test_files_that_do_not_fit(glove, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"feature 'text': .*nowhere.txt"):
        fitted(tmp_path / "nowhere.txt")
    feature = fitted(glove)
    with pytest.raises(ValueError, match=r"'text': output_dim is 300.*'.*glove.3d.txt'.* 3"):
        WordVectors(feature, output_dim=300)
    with pytest.raises(ValueError, match=r"WordVectors .*`vectors`.*'text' is Words"):
        WordVectors(Words(name="text", vocabulary=("the",)))
    glove.write_text("cat 1 0 0\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"'text': .*glove.3d.txt' .*3 of the 4 words.*\['the', "):
        WordVectors(feature)
    glove.write_text("the 1 0\ncat 1 0\n, 0 0\nnew-york 1 0\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"'text': .*fitted .* 3, .*glove.3d.txt' .* 2"):
        WordVectors(feature)


def test_a_large_file_is_read_in_parts(tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("".join(f"w{i} {i} {-i}\n" for i in range(41_000)), encoding="utf-8")
    table = read_vector_table(path, "t")
    assert len(table.words) == 41_000
    assert np.array_equal(table.vectors[:, 0], np.arange(41_000, dtype=np.float32))
    assert torch.equal(WordVectors(fitted(path)).table.weight[1:, 1], -torch.arange(41_000.0))
