"""LightFM on the rows of a config, ranked and measured by this package: the rival of ``FMScore``.

    pip install lightfm-next==1.19.0   # a fork of lightfm with the same interface; brings SciPy
    DSSM_DATA=FOLDER python scripts/lightfm_rival.py --seeds 1 2 3

LightFM is a :class:`~dssm_lightning.evaluation.baselines.Baseline` here: it learns from the config's training positives
and reads the config's columns of categories. The corpus, the mask of seen candidates and the metrics are those of the
command ``test``. ``--validation 0.1`` ranks validation rows that are cut from the training rows, and several
``--epochs`` show the metrics on the way: settings were chosen with both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.api import load_data
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.baselines import Baseline, BaselineData
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.measure_baselines import baseline_data
from dssm_lightning.utils.ragged import Column, Features, Ragged

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "movielens-100k-fm.yaml"
SHOWN = ("query_auroc", "precision@10", "ndcg@10", "recall@100")


def columns_of(features: Features) -> Any:
    """Return a SciPy matrix (rows, categories of all columns); the categories of one column weigh 1 in every row."""
    from scipy.sparse import hstack

    return hstack([_one_hot(column) for column in features.values()], format="csr", dtype=np.float32)


def _one_hot(column: Column) -> Any:
    from scipy.sparse import csr_matrix

    if isinstance(column, Ragged):
        lengths, values = column.lengths.numpy(), column.values.numpy()
    else:
        assert isinstance(column, Tensor)
        assert not column.is_floating_point(), "LightFM reads categories"
        lengths, values = np.ones(len(column), dtype=np.int64), column.numpy()
    weights = np.repeat(1 / np.maximum(lengths, 1), lengths)
    return csr_matrix((weights, values, np.concatenate([[0], np.cumsum(lengths)])))


class LightFMRival(Baseline):
    """LightFM over categories of both sides: the sum of a row's embeddings, and of its biases.

    Args:
        query: the columns of each row of the query table.
        candidate: the columns of each candidate.
        settings: arguments of ``lightfm.LightFM``.
    """

    def __init__(self, query: Features, candidate: Features, **settings: Any) -> None:
        self.features = {"user_features": columns_of(query), "item_features": columns_of(candidate)}
        self.settings = settings

    def fit(self, data: BaselineData) -> None:
        """Start from random embeddings; :meth:`train` learns."""
        from lightfm import LightFM
        from scipy.sparse import coo_matrix

        self.model = LightFM(**self.settings)
        pairs = data.positives.rows.numpy(), data.positives.values.numpy()
        shape = len(data.positives.lengths), data.num_candidates
        self.likes = coo_matrix((np.ones(len(pairs[0]), dtype=np.float32), pairs), shape=shape)

    def train(self, epochs: int) -> None:
        """Go on for some epochs, in one thread."""
        self.model.fit_partial(self.likes, **self.features, epochs=epochs, num_threads=1)

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """(Q, N): the dot products and the candidates' biases; a query's bias changes no ranking."""
        _, users = self.model.get_user_representations(self.features["user_features"])
        biases, items = self.model.get_item_representations(self.features["item_features"])
        return torch.from_numpy(users[batch.query_row.numpy()] @ items.T + biases)


def rows_of(config: str, validation: float, folder: str) -> RetrievalData:
    """The data of a config, with validation rows cut from the training rows."""
    cut = Path(folder) / "cut.yaml"
    cut.write_text(f"data: {{cache_dir: {folder}/cache, split: {{init_args: {{validation: {validation}}}}}}}\n")
    data = load_data([config, cut])
    data.prepare()
    return data


def run(data: RetrievalData, fold: int, seed: int, options: argparse.Namespace) -> None:
    """Fit one seed, and print a line of the table after each of the chosen numbers of epochs."""
    rival = LightFMRival(
        dict(data.data.query),
        dict(data.data.candidate),
        no_components=options.factors,
        loss=options.loss,
        learning_rate=options.learning_rate,
        user_alpha=options.l2,
        item_alpha=options.l2,
        max_sampled=options.max_sampled,
        random_state=seed,
    )
    rival.fit(baseline_data(data, None, fold))
    evaluation, ranking = Evaluation([10, 100], labelled=False), data.ranking(fold)
    fitted, done = 0.0, 0
    for epochs in sorted(options.epochs):
        started = time.process_time()
        rival.train(epochs - done)
        fitted, done = fitted + time.process_time() - started, epochs
        found = rival.evaluate(data.evaluation_batches(fold), evaluation, ranking.rows)
        label = f"{options.loss}, {options.learning_rate}, L2 {options.l2}, epoch {epochs}, seed {seed}"
        values = " | ".join(f"{found[name]:.4f}" for name in SHOWN)
        print(f"| {label} | {values} | {fitted:.0f} s |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Fit every seed, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(CONFIG))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--validation", type=float, default=0.0)
    parser.add_argument("--epochs", nargs="+", type=int, default=[40])
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--loss", choices=["warp", "bpr", "logistic"], default="warp")
    parser.add_argument("--learning_rate", type=float, default=0.02)
    parser.add_argument("--l2", type=float, default=1e-4)
    parser.add_argument("--max_sampled", type=int, default=50)
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(f"| LightFM, {options.factors} factors | {' | '.join(SHOWN)} | to fit |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        data = rows_of(options.config, options.validation, folder)
        for seed in options.seeds:
            run(data, VALIDATION if options.validation else TEST, seed, options)


if __name__ == "__main__":
    main()
