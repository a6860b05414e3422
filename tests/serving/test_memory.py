"""A server gives back the memory of large requests, of refused ones, and of bundles that it serves no longer."""

from __future__ import annotations

import gc
import types
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.gallery import make_gallery
from helpers.serving import Server, served

from dssm_lightning.serving.process import make_server
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles
from dssm_lightning.serving.work import EncodeWork, SearchWork

REFUSED: list[tuple[str, Any]] = [
    ("/search", {"query": ""}),
    ("/search", {"query": ["red", ""]}),
    ("/search", {"query": "red", "filter": "price >"}),
    ("/search", {"query": "red", "filter": "nothing = 1"}),
    ("/search", {"query": "red", "hybrid": -3}),
    ("/encode", {"query": {"colour": 1}}),
    ("/encode", {"query": ["red", {"words": None}]}),
    ("/similar", {"id": "i1", "filter": "nothing"}),
    ("/similar", {"id": "nobody"}),
    ("/score", {"query": "", "candidates": ["red"]}),
    ("/embed", {"inputs": ["red", ""]}),
]


@pytest.fixture
def server(shop_bundle: Path) -> Iterator[Server]:
    with served(shop_bundle) as made:
        yield made


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
def test_a_refused_request_leaves_nothing_that_only_the_collector_frees(server: Server) -> None:
    """Once each held its bundle by the traceback of its error, so that bundles stayed open after a reload."""
    for path, body in REFUSED:  # the first time things are imported, and made that are kept
        assert 400 <= server.post(path, body).status < 500
    gc.collect()
    for path, body in REFUSED:
        server.post(path, body)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    left = [each for each in gc.garbage if isinstance(each, BaseException | types.FrameType | SearchWork | EncodeWork)]
    gc.garbage.clear()
    assert not left


@pytest.mark.usefixtures("_no_collector")
def test_a_bundle_is_freed_by_a_reload(server: Server) -> None:
    for path, body in REFUSED:
        server.post(path, body)
    server.post("/search", {"query": "red"})
    bundle = server.serving.bundle()
    left = [weakref.ref(bundle), weakref.ref(bundle.retriever), weakref.ref(bundle.retriever.corpus)]
    del bundle
    server.run(server.serving.reload())
    server.post("/search", {"query": "red"})
    assert [each() for each in left] == [None, None, None]


@pytest.mark.usefixtures("_no_collector")
def test_a_bundle_with_pictures_is_freed_by_a_reload(tmp_path: Path) -> None:
    with served(make_gallery(tmp_path)) as server:
        server.post("/search", {"query": {"words": "number"}})
        bundle = server.serving.bundle()
        assert bundle.has_pictures
        left = [weakref.ref(bundle), weakref.ref(bundle.retriever.corpus)]
        del bundle
        server.run(server.serving.reload())
        server.post("/search", {"query": {"words": "number"}})
        assert [each() for each in left] == [None, None]


def test_warnings_of_broken_pictures_are_neither_shown_nor_kept() -> None:
    """Their texts are the client's choice, and Python remembers each."""
    kept: dict[Any, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_server(Serving(ServingSettings(name_bundles(["nowhere"]))))
        for text in ("Corrupt EXIF data. Expecting to read 12 bytes but only got 0.", "an image bomb"):
            warnings.warn_explicit(text, UserWarning, "T.py", 9, "PIL.TiffImagePlugin", kept)
        with pytest.raises(UserWarning):
            warnings.warn_explicit("another", UserWarning, "T.py", 9, "PILLAR", kept)
    assert not [key for key in kept if key != "version"]
