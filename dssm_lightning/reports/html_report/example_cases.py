"""Queries with their rankings: some that went well, some that went badly, some at random."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.features import Image
from dssm_lightning.reports.hit_pictures import as_picture
from dssm_lightning.reports.html_report.page_parts import Example, Figure, Hit, Section
from dssm_lightning.reports.html_report.ranked_sample import SEED, RankedSample, best_ranks
from dssm_lightning.utils.console import cell

EACH = 4
"""Examples of each kind."""
LONGEST, SHORT = 160, 70
LIKED = 5


class Cases:
    """Describes queries and candidates of a sample.

    Args:
        sample: the ranked queries.
        data: of the run.
    """

    def __init__(self, sample: RankedSample, data: RetrievalData) -> None:
        self.sample, self.data = sample, data
        self._queries, self._corpus = data.data.queries, data.candidates
        self._display = [name for name in data.data.display if name in self._corpus.columns]
        self._texts = [name for name in data.schemas.query.text_columns if name in self._queries.columns]
        feature = next((each for each in data.recipe.candidate if isinstance(each, Image)), None)
        self._pictures = None if feature is None else data.data.candidate.get(feature.name)

    def query_title(self, number: int) -> str:
        """Return the texts of a query, or its id."""
        values = self._queries.row(int(self.sample.query_row[number]), named=True)
        texts = [_text(values[name]) for name in self._texts]
        key = self._queries.columns[0]
        return cell(" · ".join(text for text in texts if text) or f"{key} {values[key]}", LONGEST)

    def query_detail(self, number: int) -> list[str]:
        """Return the other columns of a query, and what it liked in training."""
        row = int(self.sample.query_row[number])
        values = self._queries.row(row, named=True)
        others = [name for name in self._queries.columns[1:] if name not in self._texts]
        known = [f"{name}: {_text(values[name])}" for name in others if _text(values[name])]
        lines = [cell(" · ".join(known), LONGEST)] if known else []
        likes = self.data.assembler.likes.candidates
        liked = likes.values[likes.offsets[row] : likes.offsets[row + 1]].tolist()
        if liked:
            titles = "; ".join(self.candidate_title(each) for each in liked[-LIKED:])
            lines.append(cell(f"liked {len(liked):,} in training, such as {titles}", 2 * LONGEST))
        return lines

    def candidate_title(self, row: int) -> str:
        """Return what describes a row of the corpus."""
        values = self._corpus.row(row, named=True)
        texts = [_text(values[name]) for name in self._display]
        return cell(" · ".join(text for text in texts if text) or str(self._corpus.item(row, 0)), SHORT)

    def example(self, number: int) -> Example:
        """Return a query with its ranking and its right candidates."""
        sample = self.sample
        pairs = (sample.pair_query == number).nonzero().squeeze(1)
        right = set(sample.pair_candidate[pairs].tolist())
        hits = []
        for place, (candidate, score) in enumerate(
            zip(sample.top[number].tolist(), sample.top_score[number].tolist(), strict=True), 1
        ):
            if score > -torch.inf:
                hits.append(self._hit(candidate, str(place), score, candidate in right))
        shown = set(sample.top[number].tolist())
        rest = pairs[sample.pair_rank[pairs].argsort(stable=True)].tolist()
        answers = [
            self._hit(candidate, f"{int(sample.pair_rank[pair]) + 1:,}", float(sample.pair_score[pair]), True)
            for pair in rest if (candidate := int(sample.pair_candidate[pair])) not in shown
        ]  # fmt: skip
        return Example(self.query_title(number), self.query_detail(number), hits, answers[:3])

    def _hit(self, place: int, rank: str, score: float, right: bool) -> Hit:
        row = self.sample.corpus_row(place)
        shown = f"{score:.2f}" if abs(score) >= 1 else f"{score:.3f}"
        return Hit(rank, self.candidate_title(row), shown, right, self._picture(row))

    def _picture(self, row: int) -> str:
        if not isinstance(self._pictures, Tensor):
            return ""
        picture = as_picture(self._pictures[row])
        if picture is None:
            return ""
        picture.thumbnail((72, 72))
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=80)
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def choose_examples(sample: RankedSample) -> dict[str, list[int]]:
    """Return numbers of queries by kind, drawn by a fixed seed: good, bad, and any."""
    ranks, generator = best_ranks(sample), torch.Generator().manual_seed(SEED)
    answered = ranks.isfinite().nonzero().squeeze(1)
    good = (ranks == 0).nonzero().squeeze(1)
    worst = answered[ranks[answered].argsort(descending=True, stable=True)][: max(EACH, len(answered) // 10)]
    worst = worst[ranks[worst] > 0]

    def draw(rows: Tensor) -> list[int]:
        order = torch.randperm(len(rows), generator=generator)[:EACH]
        chosen: list[int] = rows[order].tolist()
        return chosen

    return {"good": draw(good), "bad": draw(worst), "any": draw(answered)}


def examples_section(cases: Cases) -> Section:
    """Return three figures of examples."""
    chosen = choose_examples(cases.sample)
    titles = {"good": "Went well", "bad": "Went badly", "any": "Drawn from all"}
    about = {
        "good": "Drawn at random among the queries with a right candidate at rank 1. Are the other ranks sensible, "
        "too?",
        "bad": (
            "Drawn at random among the tenth of the queries with the worst first right candidate. Ask of each: is the "
            "ranking really wrong, or are its candidates right and nobody has labelled them? Does the query hold what "
            "one needs to know to answer it?"
        ),
        "any": "Drawn at random from all queries: the everyday, neither the best nor the worst.",
    }
    rest = " Green marks the right candidates; those that are not among the first stand below with their rank."
    figures = [
        Figure(titles[kind], about[kind] + rest, examples=[cases.example(each) for each in numbers], wide=True)
        for kind, numbers in chosen.items()
        if numbers
    ]
    return Section("examples", "Examples", figures)


def _text(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
