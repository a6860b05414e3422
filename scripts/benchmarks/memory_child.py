"""A fit or a test in this process, and what it cannot do without: ``memory`` looks at it from outside.

python -m benchmarks.memory_child REPORT fit --config CONFIG …
python -m benchmarks.memory_child REPORT test --config CONFIG
python -m benchmarks.memory_child --imports < NAMES_OF_MODULES
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from dssm_lightning.training.module import TwoTower


def main(report: str, verb: str, *words: str) -> None:
    """Run a command; write the sizes in MiB of what must be held, and the names of the imported modules."""
    from benchmarks.must_hold import MustHold

    trainer, module = fit([verb, *words]) if verb == "fit" else tested(words[-1])
    [must] = [each for each in trainer.callbacks if isinstance(each, MustHold)]
    sizes = {name: size / 2**20 for name, size in must.sizes(trainer, module).items()}
    found = {"sizes": sizes, "modules": sorted(sys.modules)}
    Path(report).write_text(json.dumps(found), encoding="utf-8")


def fit(words: list[str]) -> tuple[Trainer, TwoTower]:
    """Fit by the command line, without a table of baselines at its end."""
    from dssm_lightning.cli.main import main as run

    cli = run([*words, "--baselines", "false", "--trainer.callbacks+", "benchmarks.must_hold.MustHold"])
    return cli.trainer, cli.model


def tested(config: str) -> tuple[Trainer, TwoTower]:
    """Test a model that is not trained, which costs the same."""
    from lightning.pytorch import Trainer

    from benchmarks.must_hold import MustHold
    from dssm_lightning.api import load_datamodule, load_untrained

    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[MustHold()],
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    model = load_untrained([config])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers
        trainer.test(model, load_datamodule([config]), verbose=False)
    return trainer, model


def imports() -> float:
    """Import the modules that standard input names; return the MiB that this process then holds."""
    for name in sys.stdin.read().splitlines():
        with contextlib.suppress(Exception), warnings.catch_warnings():  # some cannot be imported by themselves
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    from benchmarks.big_batches import held

    return held()


if __name__ == "__main__":
    if sys.argv[1] == "--imports":
        print(imports())
    else:
        main(*sys.argv[1:])
