"""Warnings of libraries that a user cannot act on, each with the reason why it is ignored."""

from __future__ import annotations

import logging
import warnings


def ignore_expected_warnings() -> None:
    """Ignore the warnings that are expected here. All others are shown."""
    # Lightning 2.6 calls functions that torch 2.14 and jsonargparse 4 still have; pyproject.toml bounds the versions
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    warnings.filterwarnings("ignore", message=r"\s+(By default only one Jsonargparse|.*was deprecated in v4)")
    # our loader restarts within an epoch by the state of the data module, which Lightning does not see
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    # batches are assembled from memory-mapped tensors: worker processes would make them slower
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # small data have fewer batches than the logging interval; metrics are logged at the end of each epoch anyway
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    # a split may keep no validation rows: then all rows that are not tested are trained on
    warnings.filterwarnings("ignore", message="Total length of `ShardedBatches` across ranks is zero")
    # a shortened epoch has no new validation; a check at the start ensures that the monitored metric exists
    warnings.filterwarnings("ignore", message=".*could not find the monitored key in the returned metrics")
    # torch's own sparse optimizers and gloo make sparse tensors without a decision on these checks
    warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
    # a resumed run continues in its own folder
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*Experiment logs directory .* exists and is not empty.*")
    # an advertisement
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()
