"""Warnings of others that say nothing a user should act on, each with its reason."""

from __future__ import annotations

import logging
import warnings


def ignore_expected_warnings() -> None:
    """Say nothing of what is known and meant to be so; anything else is heard."""
    # Lightning 2.6 calls what torch 2.14 and jsonargparse 4 still have: pyproject.toml bounds the versions
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    warnings.filterwarnings("ignore", message=r"\s+(By default only one Jsonargparse|.*was deprecated in v4)")
    # our loader restarts in mid-epoch through the data module's state, which Lightning cannot see
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    # batches are assembled from memory-mapped tensors: worker processes would make them slower
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # small data have fewer batches than the logging interval; metrics are logged at each epoch's end all the same
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    # a split may keep no validation rows: all that is not tested then trains
    warnings.filterwarnings("ignore", message="Total length of `ShardedBatches` across ranks is zero")
    # an epoch that is cut short has no new validation; that the monitored metric exists was checked at the start
    warnings.filterwarnings("ignore", message=".*could not find the monitored key in the returned metrics")
    # torch's own sparse optimizers, and gloo, make sparse tensors without saying whether they are to be checked
    warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
    # a resumed run goes on in its folder
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*Experiment logs directory .* exists and is not empty.*")
    # an advertisement
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()
