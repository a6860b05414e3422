"""The verbs of a trainer: what each does, a page of help for people in a hurry, and the way to Lightning's own."""

from __future__ import annotations

import sys
from typing import Any

from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError

ABOUT = {
    "fit": "Train a model: a run folder with its settings, metrics and checkpoints.",
    "validate": "Measure a checkpoint on the validation rows.",
    "test": "Measure a checkpoint on the test rows.",
    "predict": "Write the embeddings of the corpus or of the queries as Parquet.",
}
OPTIONS = {
    "fit": {
        "--config FILE": "an experiment; give it again to lay a second file over the first",
        "--ckpt_path last|FILE": "continue a run from its last checkpoint, or from a file",
        "--seed_everything N": "the seed of weights, batches and negatives",
        "--trainer.max_epochs N": "how long to train; also any other option of Lightning's Trainer",
        "--trainer.devices N": "how many GPUs or processes; with --trainer.strategy ddp",
        "--model.loss NAME": "another loss; also --model.optimizer, --model.scorer and others",
        "--data.batch_size N": "training rows of a batch; also --data.negatives and others",
        "--checkpoint.monitor NAME": "the metric that chooses best.ckpt, such as val/ndcg@10",
        "--last.every_n_train_steps N": "write last.ckpt within an epoch, too",
        "--verbose": "show every metric at the end",
    },
    "validate": {},
    "test": {
        "--hybrid": "measure the fusion of the model with BM25 as well",
        "--hybrid_weight W": "the weight of BM25's list in the fusion (1.0)",
        "--trec FOLDER": "write run.trec and qrels.trec, which trec_eval and ir_measures read",
        "--trec_depth N": "candidates of each query in run.trec (1000)",
        "--verbose false": "show no table",
    },
    "predict": {
        "--data.predict query": "embed the queries in place of the corpus",
        "--embeddings.output FILE": "the Parquet file",
    },
}
OF_A_CHECKPOINT = {
    "--ckpt_path best|last|FILE": "the checkpoint: of the newest run, or a file (best)",
    "--config FILE": "the newest run of this config; by default the newest run of any",
}
EVERY = {
    "--print_config": "print the settings that would be used, as YAML",
    "--trust MODULE": "let a checkpoint or a found config name what your module holds",
    "--help-all": "every option of data, model and trainer (needs some seconds)",
    "--model.loss.help NAME": "the options of a class; also for other swappable parts",
}


def run(words: list[str]) -> Any:
    """Run a verb by LightningCLI, and return the finished CLI. A plain ``--help`` needs neither Lightning nor torch."""
    if "-h" in words or "--help" in words:
        show_text(help_page(words[0]))
        sys.exit(0)
    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from dssm_lightning.cli.checkpoint_arguments import first_config, resolve_checkpoint
    from dssm_lightning.cli.lightning_cli import TwoTowerCLI

    torch.set_float32_matmul_precision("high")
    words = ["--help" if word == "--help-all" else word for word in words]
    verbose = words[0] == "fit" and "--verbose" in words  # no setting of a run, which its config would keep
    if verbose:
        words.remove("--verbose")
    try:
        return TwoTowerCLI(resolve_checkpoint(words), verbose, found_config=first_config(words) is None)
    except (MisconfigurationException, ImportError) as error:  # the second: an optional package is not installed
        raise UserError(str(error)) from error


def help_page(verb: str) -> str:
    """Return the page of a verb: the options that most people need."""
    options = {**({} if verb == "fit" else OF_A_CHECKPOINT), **OPTIONS[verb], **EVERY}
    width = max(map(len, options)) + 2
    lines = [f"  {name:<{width}}{text}" for name, text in options.items()]
    needed = " --config FILE" if verb == "fit" else ""
    return "\n".join([f"usage: dssm-lightning {verb}{needed} [options]", "", ABOUT[verb], "", "options:", *lines])
