"""What to try next: each rule looks at the run's own numbers, and says why and how.

Reasons name what was measured on this project's own data sets (docs/results.md). A rule that does not apply is silent.
"""

from __future__ import annotations

from collections.abc import Callable

from dssm_lightning.reports.html_report.evidence import NEIGHBOURS, TEXT_BASELINES, Evidence
from dssm_lightning.reports.html_report.metric_figures import FEWEST
from dssm_lightning.reports.html_report.run_record import run_command
from dssm_lightning.reports.html_report.training_advice import (
    Advice,
    free_the_scale,
    measure_baselines,
    more_negatives,
    repair_collapse,
    rows_without_negatives,
    scaled_rate,
    stop_earlier,
    train_longer,
    validate,
)

CUTS = ("hit_rate@10", "recall@10", "mrr")
CORRECTED = ("count_log_q", "inclusion", "refined")


def beat_popularity(found: Evidence) -> Advice | None:
    """Change the learning rate of a model that knows nothing but popularity, or not even that."""
    rival = found.rival(["Popularity"])
    if rival is None or found.record.model is None or found.beats(rival):
        return None
    name = found.record.primary
    reason = (
        f"The model ({name} {found.metric(name) or 0:.3f}) is not better beyond chance than {rival.name} "
        f"({rival.metrics.get(name, 0):.3f}), which ignores the query. First see whether the loss falls at all: the "
        "learning rate matters most. Try three times as much and a third."
    )
    return Advice("Find a learning rate that learns", reason, scaled_rate(found, 3))


def fuse_with_text(found: Evidence) -> Advice | None:
    """Use BM25's answers where they are better, or nearly as good."""
    hybrid, rival, model = found.record.hybrid, found.rival(TEXT_BASELINES), found.record.model
    if rival is None or model is None:
        return None
    name = found.record.primary
    if hybrid is not None:
        if not found.loses_to(hybrid):
            return None
        reason = (
            f"The fusion with BM25 was measured, and is better beyond chance: {name} {hybrid.metrics.get(name, 0):.3f}."
        )
        return Advice(
            "Serve the fusion with BM25", reason, "python -m dssm_lightning search --hybrid true", is_yaml=False
        )
    if rival.metrics.get(name, 0) < 0.7 * (found.metric(name) or 0):
        return None  # docs/results.md: then the fusion loses at the top of the list
    reason = (
        f"{rival.name} reaches {name} {rival.metrics.get(name, 0):.3f}, near the model or above it, and knows words "
        "that "
        "the model has not learnt. With a small weight a fusion has won .002 to .004 at the top; where the model "
        "is much "
        "better than BM25 it loses."
    )
    command = f"{run_command(found.record, 'test')} --hybrid --hybrid_weight 0.2"
    return Advice("Try the fusion with BM25", reason, command, is_yaml=False)


def tie_tables(found: Evidence) -> Advice | None:
    """Share the table of equal text features, where a text baseline wins."""
    if not found.loses_to(found.rival(TEXT_BASELINES)) or found.setting("model", "tied_embeddings"):
        return None
    others = {(each["class"], each.get("num_buckets")): each for each in found.texts("candidate")}
    for each in found.texts("query"):
        twin = others.get((each["class"], each.get("num_buckets")))
        if twin is not None:
            reason = (
                "A baseline that only counts common words is better. With one table for both sides a word means "
                "the same "
                "in a query and in a candidate from the first step on. On emoji, tied tables and sums in place of "
                "concatenated layers raised the validation MRR from .19 to .31."
            )
            lines = f"model:\n  tied_embeddings: {{{each.get('name')}: {twin.get('name')}}}"
            return Advice("Share the table of both sides' texts", reason, lines)
    return None


def add_histories(found: Evidence) -> Advice | None:
    """Add what a query liked, where neighbours win."""
    rival = found.rival(NEIGHBOURS)
    kinds = {each["class"] for each in found.features("query")}
    if not found.loses_to(rival) or rival is None or "History" in kinds:
        return None
    liked = found.id_feature() or "candidate"  # whole candidates, where there is no id that represents one
    reason = (
        f"{rival.name} is better, and it knows only what each query liked before. Give the query tower the same "
        "knowledge; leaving half of it out at random in training helps. On MovieLens-100K this leads past EASE."
    )
    lines = f"data:\n  query+:\n    - {{class_path: History, init_args: {{name: history, of: {liked}, dropout: 0.5}}}}"
    return Advice("Let the query know what it liked", reason, lines)


def add_liked_by(found: Evidence) -> Advice | None:
    """Describe candidates by the queries that led to them."""
    texts = found.texts("query")
    kinds = {each["class"] for each in found.features("candidate")}
    if not texts or "LikedBy" in kinds or found.rival(TEXT_BASELINES) is None or _share_cold(found) > 0.5:
        return None
    reason = (
        "Queries are texts, and most right candidates have training queries that led to them. These are words that "
        "people use and that no column of the candidates holds. On command pages this raised the test MRR from .46 "
        "to .48."
    )
    lines = (
        f"data:\n  candidate+:\n    - {{class_path: LikedBy, init_args: {{name: asked, of: {texts[0].get('name')}}}}}"
    )
    return Advice("Describe candidates by their training queries", reason, lines)


def help_cold_candidates(found: Evidence) -> Advice | None:
    """Let content speak for candidates without a training row."""
    cold, every, size = _cut(found, "cold_candidates"), _cut(found, ""), found.metric("cold_candidates/queries") or 0
    name = found.id_feature()
    if cold is None or every is None or cold >= 0.5 * every or size < FEWEST or name is None:
        return None
    reason = (
        f"Candidates that no training row likes are found in {cold:.0%} of their {size:,.0f} queries; all, in "
        f"{every:.0%}. "
        "Their id says nothing, so only other columns can help. Dropping ids at random teaches the model to read "
        "those; "
        "add columns that describe the content (texts, pictures, categories) if there are few."
    )
    width = found.setting("model", "candidate_tower", "init_args", "encoders", name, "init_args", "output_dim")
    options = ", ".join([*([] if width is None else [f"output_dim: {width}"]), "id_dropout: 0.3"])
    lines = (
        "model:\n  candidate_tower:\n    init_args:\n      encoders:\n"
        f"        {name}: {{class_path: Embedding, init_args: {{{options}}}}}"
    )
    return Advice("Give new candidates a voice", reason, lines)


def correct_popularity(found: Evidence) -> Advice | None:
    """Turn the correction for popularity on, or off, by the gap between head and tail."""
    head, tail = _cut(found, "head"), _cut(found, "tail")
    rival = found.record.baselines[0] if found.record.baselines else None
    if head is None or tail is None or found.class_of("model", "loss") != "SampledSoftmax":
        return None
    repeats = found.setting("model", "loss", "init_args", "repeats") or "ignore"
    rival_head = (
        None
        if rival is None
        else next((rival.metrics[f"head/{m}"] for m in CUTS if f"head/{m}" in rival.metrics), None)
    )
    if repeats not in CORRECTED and rival_head is not None and head < 0.8 * rival_head:
        reason = (
            f"Popular candidates are found in {head:.0%} of their queries; {rival.name if rival else ''} finds "
            f"{rival_head:.0%}. They "
            "are negatives of nearly every batch, which pushes them down. The correction by log q takes that back."
        )
        return Advice("Correct for popularity", reason, "model:\n  loss:\n    init_args: {repeats: count_log_q}")
    if repeats in CORRECTED and tail < 0.25 * head:
        reason = (
            f"Popular candidates are found in {head:.0%} of their queries, rare ones in {tail:.0%}. Without the "
            "correction "
            f"{repeats}, popular candidates are pushed down by being negatives more often. If most queries do want "
            "what "
            "is popular, the gap is right, and this costs accuracy."
        )
        return Advice("Give rare candidates more room", reason, "model:\n  loss:\n    init_args: {repeats: ignore}")
    return None


def mine_near_misses(found: Evidence) -> Advice | None:
    """Train on what stands just above the right candidate."""
    if found.near_misses is None or found.found is None or found.near_misses < max(0.2, 0.5 * found.found):
        return None
    reason = (
        f"The first right candidate of {found.near_misses:.0%} of the queries has a rank from 11 to 100: the model "
        "is near, "
        "and what stands above are the negatives that teach most. On command pages, mined negatives raised the "
        "validation "
        "MRR by .011; on the same pages with earlier queries by .005."
    )
    lines = (
        "data:\n  negatives:\n    class_path: Hard\n    init_args: {num_negatives: 2000, rank_range: [10, 60], "
        "per_row: false}"
    )
    return Advice("Mine hard negatives", reason, lines)


RULES: tuple[Callable[[Evidence], Advice | None], ...] = (
    *(repair_collapse, beat_popularity, measure_baselines, validate, tie_tables, add_histories, fuse_with_text),
    *(rows_without_negatives, stop_earlier, train_longer, more_negatives, help_cold_candidates, correct_popularity),
    *(add_liked_by, mine_near_misses, free_the_scale),
)
"""In the order in which the report shows them: what must be right first stands first."""


def give_advice(found: Evidence) -> list[Advice]:
    """Return what the rules say of a run."""
    return [advice for rule in RULES if (advice := rule(found)) is not None]


def _cut(found: Evidence, name: str) -> float | None:
    values = (found.metric(f"{name}/{each}" if name else each) for each in CUTS)
    return next((value for value in values if value is not None), None)


def _share_cold(found: Evidence) -> float:
    model = found.record.model
    cold = 0.0 if model is None else model.metrics.get("cold_candidates/queries", 0.0)
    rows = 0 if model is None or model.rows is None else len(model.rows)
    return cold / rows if rows else 0.0
