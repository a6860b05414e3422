"""Settings of a server are checked when they are made, and can be sent to other processes."""

from __future__ import annotations

import math
import pickle
from dataclasses import fields
from typing import Any

import pytest

from dssm_lightning.serving.routes.checks import default_k
from dssm_lightning.serving.settings import Limits, NamedBundle, ServingSettings, name_bundles
from dssm_lightning.utils.errors import UserError

BUNDLES = name_bundles(["shop"])
TIMES = {each.name for each in fields(Limits) if isinstance(each.default, float)}


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, True, "many", None, math.nan, math.inf, 2.5], ids=repr)
def test_a_limit_that_is_none_is_refused(name: str, value: Any) -> None:
    if name in TIMES and value == 2.5:
        assert getattr(Limits(**{name: value}), name) == value
        return
    with pytest.raises(UserError, match=f"serve: --{name} is {value!r}"):
        Limits(**{name: value})


def test_a_time_is_at_most_a_day() -> None:
    with pytest.raises(UserError, match=r"--timeout is 86401.*86,400"):
        Limits(timeout=86_401)


@pytest.mark.parametrize(
    ("setting", "value", "found"),
    [
        ("bundles", (), "--bundle is missing"),
        ("bundles", (NamedBundle("a", "x"), NamedBundle("a", "y")), "two bundles are named 'a'"),
        ("token", "", "DSSM_API_TOKEN is empty"),
        ("token", "  ", "DSSM_API_TOKEN is empty"),
        ("token", "two words", "DSSM_API_TOKEN has"),
        ("token", "schlüssel", "DSSM_API_TOKEN has"),
        ("token", "line\n", "DSSM_API_TOKEN has"),
        ("port", 65_536, "--port is 65536"),
        ("port", -1, "--port is -1"),
        ("port", "80", "--port is '80'"),
        ("workers", 0, "--workers is 0"),
        ("threads", 1.5, "--threads is 1.5"),
    ],
)
def test_a_setting_that_is_none_is_refused(setting: str, value: Any, found: str) -> None:
    with pytest.raises(UserError, match=found):
        ServingSettings(**{"bundles": BUNDLES, setting: value})


def test_settings_can_be_pickled_and_do_not_show_the_token() -> None:
    settings = ServingSettings(BUNDLES, Limits(max_k=5), token="secret")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_loopback_is_known(host: str) -> None:
    assert ServingSettings(BUNDLES, host=host).is_loopback
    assert not ServingSettings(BUNDLES, host="0.0.0.0").is_loopback


def test_bundles_are_named_by_their_folders() -> None:
    found = name_bundles(["runs/a b/", "x=runs/new", "c/x", "./x/../x", "s3://bucket/emoji/", "a/=b"])
    assert [bundle.name for bundle in found] == ["a-b", "x", "x-2", "x-3", "emoji", "-b"]
    assert [bundle.place for bundle in found][1:3] == ["runs/new", "c/x"]


@pytest.mark.parametrize("value", ["", " ", "=x", "a=", "a b=x", "ä?=x"])
def test_a_bundle_without_a_folder_or_with_a_bad_name_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="--bundle is"):
        name_bundles([value])


@pytest.mark.parametrize(
    ("asked", "candidates", "found"), [(None, 1000, 10), (None, 4, 4), (None, 0, 1), (3, 1, 3), (None, 50, 10)]
)
def test_without_a_number_ten_or_all_are_found(asked: int | None, candidates: int, found: int) -> None:
    assert default_k(asked, candidates, Limits()) == found
    assert default_k(None, 1000, Limits(max_k=7)) == 7
