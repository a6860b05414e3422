"""Three tiers: the default one, ``--slow`` (real processes killed, several ranks, full configs), and ``gpu``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from helpers.paths import TESTS

from dssm_lightning.cli import trainer_verbs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the slow tier")


def pytest_configure() -> None:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # what tests start finds helpers as well
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what runs in the background so
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start must hear of Ctrl-C
    torch.set_num_threads(1)  # small tensors: on a busy machine threads wait for each other a hundred times as long


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    without_gpu = not torch.cuda.is_available()
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow tier: run with --slow"))
        if item.get_closest_marker("gpu") is None:
            continue
        item.add_marker(pytest.mark.filterwarnings("default"))  # CUDA and its compilers warn about the machine
        if without_gpu:
            item.add_marker(pytest.mark.skip(reason="gpu tier: torch finds no CUDA device"))


@pytest.fixture(scope="session")
def movielens_root() -> Path:
    """Where the MovieLens archives lie; the tests that need them are skipped without."""
    root = os.environ.get("DSSM_DATA")
    if root is None or not (Path(root) / "ml-100k").is_dir():
        pytest.skip("MovieLens is not at hand: DSSM_DATA names no folder with ml-100k")
    return Path(root)


@pytest.fixture(scope="session")
def shop_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of an untrained model over 30 candidates; it takes seconds to export, so do not change it."""
    from helpers.bundles import make_shop_bundle

    return make_shop_bundle(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run of texts, and ``bundle``; do not change it."""
    from helpers.exported_runs import TEXT, exported_run

    return exported_run(tmp_path_factory.mktemp("exported"), query=[TEXT], candidate=[TEXT])


@pytest.fixture(scope="session")
def exported_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with queries of a text and a history of candidate ids."""
    from helpers.exported_runs import HISTORY, ID, TEXT, exported_run

    return exported_run(tmp_path_factory.mktemp("exported"), query=[TEXT, HISTORY], candidate=[ID, TEXT])


@pytest.fixture(autouse=True)
def _without_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits and tests end without the table of baselines unless they ask for it: there are hundreds of them."""
    monkeypatch.setattr(trainer_verbs, "ENDS_WITH_BASELINES", False)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests draw the same numbers whatever ran before them."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # seed_everything sets it, and nothing else takes it back
    torch.manual_seed(0)
