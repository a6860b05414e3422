"""The verbs of a trainer: what each does, a page of help for people in a hurry, and the way to Lightning's own."""

from __future__ import annotations

import sys
from typing import Any

from dssm_lightning.cli.command_arguments import take_flag
from dssm_lightning.cli.help_pages import (
    asked_section,
    example_text,
    of_section,
    option_lines,
    require_section,
    wrapped,
)
from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError

ENDS_WITH_BASELINES = True
"""Whether a fit and a test end with a table of baselines if ``--baselines`` is not given."""

ABOUT = {
    "fit": "Train a model: a run folder with its settings, metrics and checkpoints.",
    "validate": "Measure a checkpoint on the validation rows.",
    "test": "Measure a checkpoint on the test rows.",
    "predict": "Write the embeddings of the corpus or of the queries as Parquet.",
}
EXAMPLES = {
    "fit": "fit --config configs/tldr.yaml --trainer.max_epochs 3",
    "validate": "validate --config configs/tldr.yaml --ckpt_path last",
    "test": "test --config configs/tldr.yaml",
    "predict": "predict --data.predict query --embeddings.output v.parquet",
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
        "--data.split.fold N": "another window of ByTime with several folds",
        "--checkpoint.monitor NAME": "the metric that chooses best.ckpt, such as val/ndcg@10",
        "--checkpoint.patience N": "stop after N validations without a better one",
        "--last.every_n_train_steps N": "write last.ckpt within an epoch, too",
        "--refit": "then train the final model on training and validation rows, as long as was best",
        "--baselines false": "do not compare the model with baselines at the end",
        "--verbose": "show every metric at the end",
    },
    "validate": {},
    "test": {
        "--hybrid": "measure the fusion of the model with BM25 as well",
        "--hybrid_weight W": "the weight of BM25's list in the fusion (1.0)",
        "--trec FOLDER": "write run.trec and qrels.trec, which trec_eval and ir_measures read",
        "--trec_depth N": "candidates of each query in run.trec (1000)",
        "--baselines false": "do not compare the model with baselines at the end",
        "--verbose false": "show no table",
    },
    "predict": {
        "--data.predict query": "embed the queries in place of the corpus",
        "--embeddings.output FILE": "the Parquet file",
    },
}
OF_A_CHECKPOINT = {
    "--ckpt_path best|last|FILE": "the checkpoint: of the newest finished run, or a file (best)",
    "--config FILE": "the newest finished run of this config; by default of any config",
}
EVERY = {
    "--print_config": "print the settings that would be used, as YAML",
    "--trust MODULE": "let a checkpoint or a found config name what your module holds",
    "--help=SECTION": "every option of trainer, model, data, checkpoint, last, embeddings or all (needs some seconds)",
    "--model.loss.help NAME": "the options of a class; also for other swappable parts",
}


def run(words: list[str]) -> Any:
    """Run a verb by LightningCLI, and return the finished CLI. A plain ``--help`` needs neither Lightning nor torch.

    Raises:
        UserError: ``--help=`` names no section; what Lightning refuses of the settings.
    """
    if "-h" in words or "--help" in words:
        show_text(help_page(words[0]))
        sys.exit(0)
    section = asked_section(words)
    if section is not None:
        require_section(section)
        show_text(of_section(_whole_help(words[0]), section))
        sys.exit(0)
    words, flags = _take_flags(words)
    return _run(words, flags)


def _take_flags(words: list[str]) -> tuple[list[str], dict[str, bool | None]]:
    """Return the words without the flags of a verb, which are no settings of a run that its config would keep."""
    flags: dict[str, bool | None] = dict.fromkeys(("--verbose", "--refit", "--baselines"))
    for name in {"fit": flags, "test": ["--baselines"]}.get(words[0], ()):
        words, flags[name] = take_flag(words, name)
    return words, flags


def _run(words: list[str], flags: dict[str, bool | None]) -> Any:
    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from dssm_lightning.cli.checkpoint_arguments import first_config, resolve_checkpoint
    from dssm_lightning.cli.lightning_cli import TwoTowerCLI
    from dssm_lightning.cli.refitting import is_refit, lay_over, refit_words
    from dssm_lightning.utils.freed_memory import keep_memory

    torch.set_float32_matmul_precision("high")
    keep_memory()
    found_config = first_config(words) is None
    try:
        words = lay_over(resolve_checkpoint(words))
        refits = bool(flags["--refit"]) and not is_refit(words)  # an interrupted fit of a final model is continued
        verbose, baselines = bool(flags["--verbose"]), flags["--baselines"]
        cli = TwoTowerCLI(words, verbose, found_config, baselines=baselines, refits=refits)
        following = refit_words(cli, words) if refits else None
        return cli if following is None else TwoTowerCLI(following, verbose, found_config, refit_of=cli.run)
    except (MisconfigurationException, ImportError) as error:  # the second: an optional package is not installed
        raise UserError(str(error)) from error


def _whole_help(verb: str) -> str:
    """Return Lightning's help of a verb."""
    from contextlib import redirect_stdout, suppress
    from io import StringIO

    from dssm_lightning.cli.lightning_cli import TwoTowerCLI

    written = StringIO()
    with redirect_stdout(written), suppress(SystemExit):
        TwoTowerCLI([verb, "--help"])
    return written.getvalue()


def help_page(verb: str) -> str:
    """Return the page of a verb: the options that most people need."""
    options = {**({} if verb == "fit" else OF_A_CHECKPOINT), **OPTIONS[verb], **EVERY}
    usage = f"usage: dssm-lightning {verb}{' --config FILE' if verb == 'fit' else ''} [options]"
    parts = [usage, "", wrapped(ABOUT[verb]), "", "options:", *option_lines(options), "", example_text(EXAMPLES[verb])]
    return "\n".join(parts)
