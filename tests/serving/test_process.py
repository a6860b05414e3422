"""What a process of a server sets up."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dssm_lightning.features import HashedTrigrams
from dssm_lightning.serving.process import make_server
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles


def test_a_text_that_is_cut_off_leaves_nothing_behind(shop_bundle: Path) -> None:
    """Python keeps each warning that differs from those before; a server gets millions of texts."""
    serving = Serving(ServingSettings(name_bundles([str(shop_bundle)])))
    feature = HashedTrigrams(name="words", max_characters=3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        feature.encode_values(["kitten"])
        assert len(caught) == 1
        make_server(serving)
        for length in range(4, 20):
            feature.encode_values(["x" * length])
    assert len(caught) == 1
    serving.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_has_the_threads_of_the_settings(threads: int) -> None:
    """Those of one product wait for each other, and take the processor from other requests."""
    with threadpool_limits(3, "blas"):
        make_server(Serving(ServingSettings(name_bundles(["nowhere"]), threads=threads)))
        found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert set(found) == {threads}
