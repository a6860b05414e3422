"""Build and measure indexes one after the other; the best one so far stays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dssm_lightning.cli.index_settings import IndexSetting
from dssm_lightning.utils.logger import log_info

if TYPE_CHECKING:
    from dssm_lightning.retrieval.indexes import Index, RecallRow
    from dssm_lightning.retrieval.towers import Floats

ENOUGH = 0.99
"""Recall from which the fastest index is kept."""
SHARES = (0.5, 0.05, 0.005)
"""Shares of the candidates that the measured filters allow."""


class MeasuredIndex(NamedTuple):
    """What was measured of an index; of several heads, the mean recall, and the times and sizes of all together."""

    engine: str
    settings: str
    recall: float
    filtered_recall: list[float]  # by SHARES
    queries_per_second: float  # of processor time, one query at a time
    queries_per_second_in_batches: float
    build_seconds: float  # of processor time
    size: int  # bytes
    kept: bool = False


class Measurement(NamedTuple):
    """The table of all measured indexes, and the one to keep."""

    rows: list[MeasuredIndex]
    indexes: list[Index]  # the kept one, of each head
    reason: str


def measure(
    settings: Sequence[IndexSetting], vectors: Floats, queries: Floats, k: int, keep: int | None = None
) -> Measurement:
    """Build and measure indexes, and choose one.

    Args:
        settings: what to build; neighbours that differ only in parameters of the search share a built index.
        vectors: (H, N, d) of the candidates, for each head.
        queries: (H, Q, d).
        k: the number of answers.
        keep: number of the setting to keep, from 1; None = the fastest with enough recall, or else the most accurate.

    Raises:
        UserError: an index that cannot be built or searched.
    """
    from dssm_lightning.retrieval.indexes import Exact, recall_table

    exact = [Exact().build(own) for own in vectors]
    rows: list[MeasuredIndex] = []
    built: list[Index] = []
    best: tuple[int, list[Index]] | None = None
    for number, setting in enumerate(settings):
        before = settings[number - 1] if number else None
        if before is not None and (before.engine, before.arguments) == (setting.engine, setting.arguments):
            built = [setting.set_parameters(index) for index in built]
        else:
            built = []  # so that its memory is free
            built = [setting.build(own, head, len(vectors)) for head, own in enumerate(vectors)]
        found = [recall_table(*each, k, SHARES) for each in zip(built, exact, queries, strict=True)]
        rows.append(_joined(setting, found))
        log_info(f"measured {number + 1} of {len(settings)}: {setting.label}: recall {rows[-1].recall:.4f}")
        if number + 1 == keep or (keep is None and (best is None or _rank(rows[-1]) > _rank(rows[best[0]]))):
            best = number, built
    assert best is not None, "keep is one of the settings"
    kept = [settings[best[0]].set_parameters(index) for index in best[1]]
    rows[best[0]] = rows[best[0]]._replace(kept=True)
    return Measurement(rows, kept, _reason(rows, best[0], keep))


def _joined(setting: IndexSetting, tables: Sequence[Sequence[RecallRow]]) -> MeasuredIndex:
    recalls = [
        sum(each) / len(tables) for each in zip(*([row.recall for row in table] for table in tables), strict=True)
    ]
    whole = [table[0] for table in tables]
    return MeasuredIndex(
        setting.engine,
        setting.label.removeprefix(setting.engine).lstrip(),
        recalls[0],
        recalls[1:],
        1 / sum(1 / row.queries_per_second for row in whole),
        1 / sum(1 / row.queries_per_second_in_batches for row in whole),
        sum(row.build_seconds for row in whole),
        sum(row.size for row in whole),
    )


def _rank(row: MeasuredIndex) -> tuple[Any, ...]:
    """Return what is greater for the better index."""
    enough = row.recall >= ENOUGH
    return (enough, row.queries_per_second) if enough else (enough, row.recall, row.queries_per_second)


def _reason(rows: Sequence[MeasuredIndex], chosen: int, keep: int | None) -> str:
    name = f"{chosen + 1} ({rows[chosen].engine} {rows[chosen].settings})".replace(" )", ")")
    if keep is not None:
        return f"{name} is kept, as --keep {keep} asks"
    if len(rows) == 1:
        return f"{name} is kept; it is the only one"
    if rows[chosen].recall >= ENOUGH:
        return f"{name} is kept: of those with a recall of at least {ENOUGH:.2f} it is the fastest, one query at a time"
    return f"{name} is kept: none has a recall of {ENOUGH:.2f}, and it has the highest"
