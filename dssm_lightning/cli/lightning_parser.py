"""The parser of the trainer's verbs: names that it can suggest, names of earlier releases, and our own options."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dssm_lightning.cli.command_arguments import require_with
from dssm_lightning.cli.spelling_parser import SpellingParser
from dssm_lightning.data.negatives import NegativeSampler
from dssm_lightning.data.negatives.frequency import Frequency
from dssm_lightning.data.sources import Source
from dssm_lightning.data.splits import Split
from dssm_lightning.features import Feature
from dssm_lightning.losses import Loss
from dssm_lightning.models.encoders import Encoder
from dssm_lightning.models.fusion import Fusion
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import Tower
from dssm_lightning.training.callbacks.averaged_weights import AveragedWeights
from dssm_lightning.utils.errors import UserError, is_whole
from dssm_lightning.utils.renamed import renew

LARGEST_SEED = 2**32 - 1


class Parser(SpellingParser, LightningArgumentParser):
    """An argument parser that knows the names of all swappable parts, also the names of earlier releases."""

    families = (
        Feature,
        Encoder,
        Fusion,
        Tower,
        Scorer,
        Loss,
        Source,
        Split,
        NegativeSampler,
        Frequency,
        Callback,
        AveragedWeights,
        Optimizer,
        LRScheduler,
    )

    def parse_object(self, cfg_obj: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse settings, such as the hyper-parameters of a checkpoint, that may have names of earlier releases."""
        parsed: Namespace = super().parse_object(renew(cfg_obj), *args, **kwargs)
        return parsed


def add_options(parser: LightningArgumentParser, verb: str) -> None:
    """Add the options of a verb that Lightning does not have."""
    if verb == "test":
        trec = "a new folder for run.trec and qrels.trec, which trec_eval, ir_measures and ranx read"
        parser.add_argument("--trec", type=str | None, default=None, help=trec)
        parser.add_argument(
            "--trec_depth", type=int | None, default=None, help="candidates of each query in run.trec (1000)"
        )
        hybrid = "also measure the blend of the model with BM25 that the fit chose, or their rank fusion"
        parser.add_argument("--hybrid", action="store_true", help=hybrid)
        weight = "measure the rank fusion with this weight of BM25's list"
        parser.add_argument("--hybrid_weight", type=float | None, default=None, help=weight)


def check_options(settings: Namespace) -> None:
    """Refuse options of a verb that its parser takes and that cannot be meant.

    Raises:
        UserError: a seed that NumPy does not have; an option that means something with another one only.
    """
    seed = settings.get("seed_everything")
    if is_whole(seed) and not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"--seed_everything is {seed}; it must be a whole number from 0 to {LARGEST_SEED}")
    if "hybrid" in settings:
        require_with("--hybrid_weight", settings.hybrid_weight, "--hybrid", settings.hybrid)
        require_with("--trec_depth", settings.trec_depth, "--trec FOLDER", settings.trec is not None)
