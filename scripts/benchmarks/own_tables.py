"""A newcomer's shop through `baseline` and `fit`, as ``bench.py`` times them: 50,000 purchases of 10,000 products."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml
from torch import Tensor

from benchmarks.own_files import write_own_files
from benchmarks.report import Row, Section, alternate, clock, rates
from benchmarks.training import Training, step_limit
from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.data.interactions import TEST
from dssm_lightning.evaluation.baselines import EASE, BaselineData
from dssm_lightning.evaluation.measure_baselines import baseline_data, measure_baselines

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "files.yaml"
MEASURED = ("Popularity", "ItemKNN", "EASE")


def own_baselines(events: int = 50_000, items: int = 10_000, repeats: int = 2) -> Section:
    """EASE's matrix from 50,000 made-up purchases of 10,000 products, against its textbook form.

    Theirs inverts the Gram matrix of the liked products at once, in float32 by Cholesky's factors. Ours first
    eliminates products that few others were bought with, and gives the same numbers.
    """
    with TemporaryDirectory() as folder:
        config = own_config(Path(folder), events, items)
        data = load_datamodule([config])
        data.prepare_data()
        known = baseline_data(data, None, TEST)
        ours = EASE(l2=300.0)
        seconds = alternate([partial(ours.fit, known), partial(_whole, known, ours.l2)], repeats)
        rows, weights = ours.weights()
        place = torch.searchsorted(known.together.candidates, rows)
        assert torch.allclose(weights, _whole(known, ours.l2)[place][:, place], atol=1e-5), "the same matrix"
        start = clock()
        names = [each.name for each in measure_baselines(data, only=MEASURED)]
        taken = clock() - start
        note = (
            f"All of `baseline --only {' '.join(MEASURED)}` ({len(names)} results) takes {taken:.0f} s after start-up."
        )
        notes = [note, _limit(known, len(names), len(data.data.interactions.rows(TEST)))]
        return Section("Baselines of a newcomer's tables", [Row("EASE, one penalty", "s", *seconds)], notes)


def own_config(folder: Path, events: int, items: int) -> str:
    """Write the tables and the config that names them into a folder."""
    write_own_files(folder, users=items, items=items, events=events)
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    for table in ("interactions", "queries", "candidates"):
        source = config["data"]["source"]["init_args"]
        source[table] = str(folder / source[table])
    config["data"]["cache_dir"] = str(folder / "cache")
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return str(path)


def _whole(known: BaselineData, l2: float) -> Tensor:
    """(M, M) B of Steck 2019 by its listing, for the candidates that are liked together."""
    likes = known.together.matrix
    gram = torch.sparse.mm(likes.t().coalesce(), likes).to_dense().float()
    gram.diagonal().add_(known.together.alone + l2)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weights = inverse / -inverse.diagonal()
    weights.fill_diagonal_(0.0)
    return weights


def _limit(known: BaselineData, baselines: int, queries: int) -> str:
    """What `baseline` cannot do without: dense inversions as matrices are multiplied, and one pass over all scores."""
    side = known.dense_side
    block = torch.ones(2048, 2048, dtype=torch.float64)
    start = time.process_time()
    torch.mm(block, block)
    rate = 2 * len(block) ** 3 / (time.process_time() - start)
    scores = torch.ones(1 << 24)
    start = time.process_time()
    scores.topk(101)
    passed = (time.process_time() - start) / len(scores) * baselines * queries * known.num_candidates
    return (
        f"The limit: the elimination leaves {side:,} of {known.together.side:,} rows, whose inverse takes "
        f"{side**3 / rate:.1f} s at {rate / 1e9:.0f} GFLOP/s (float64, as matrices are multiplied) for each penalty; "
        f"to find the 100 best of {queries:,} × {known.num_candidates:,} scores takes {passed:.1f} s for all "
        f"{baselines} results."
    )


def own_template(events: int = 50_000, items: int = 10_000, steps: int = 10, repeats: int = 3) -> Section:
    """Training steps of `configs/files.yaml` on the same tables, against dense tables of the default sizes and Adam.

    The titles have two tables. Theirs are of 65,536 rows of 128 numbers, and a step reads and writes all rows. Ours
    have about three rows for each distinct word, and a step updates only the rows of its batch.
    """
    with TemporaryDirectory() as folder:
        config = own_config(Path(folder), events, items)
        data = load_datamodule([config])
        data.prepare_data()
        sides = []
        for path in (config, _dense(config)):
            model = load_untrained([path])
            model.build(data.schemas)
            sides.append(Training(model, data, data.batch_size, steps))
        seconds = alternate(sides, repeats)
        rows = [Row("training steps", "rows/s", *(rates(steps * data.batch_size, each) for each in seconds))]
        epoch = len(data.assembler.rows) / data.batch_size * min(seconds[0]) / steps
        note = f"Twelve epochs of steps take {12 * epoch:.0f} s, and each validation ranks {items:,} products besides."
        return Section("The template of own tables", rows, [step_limit(sides[0], min(seconds[0]) / steps), note])


def _dense(config: str) -> str:
    """Write the config as it would be without a word of sizes, sparse gradients and their optimizer."""
    settings = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    for feature in settings["data"]["candidate"]:
        feature["init_args"].pop("num_buckets", None) if feature["class_path"].startswith("Hashed") else None
    encoders = settings["model"]["candidate_tower"]["init_args"]["encoders"]
    for name in [name for name in encoders if name.startswith("title")]:
        del encoders[name]
    settings["model"]["optimizer"]["class_path"] = "torch.optim.Adam"
    path = Path(config).with_name("dense.yaml")
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return str(path)
