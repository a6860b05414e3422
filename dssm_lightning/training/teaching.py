"""What a fit learns beside its own data: which negatives its guide leaves out, and what its teacher scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.losses import Loss, Scores, Taught
from dssm_lightning.models.factories import make
from dssm_lightning.training.distributed.rank_agreement import check_ranks_agree
from dssm_lightning.training.teachers import GuidedNegatives, Teacher
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn

KEY = "teachers"
"""Where a checkpoint has the signatures of guide and teacher."""


class Teaching:
    """The guide and the teacher of a fit. Both score rows of the interactions against rows of the corpus.

    Nothing of them is in the student's checkpoint but their signatures, by which a resumed fit notices others.

    Args:
        guide: decides which negatives count; None = all valid ones.
        teacher: scores what the loss learns from; None = no teacher.

    Example:
        >>> from dssm_lightning.training.teachers import BM25Teacher
        >>> Teaching(GuidedNegatives(margin=1.0), BM25Teacher()).signatures
        {'guide': 'guided by the model itself, margin 1.0', 'teacher': 'BM25(k1=1.2, b=0.75)'}
    """

    def __init__(self, guide: GuidedNegatives | None = None, teacher: Teacher | None = None) -> None:
        self.guide, self.teacher = guide, teacher

    @classmethod
    def of(
        cls, guide: Callable[[], GuidedNegatives] | None, teacher: Callable[[], Teacher] | None, loss: Loss
    ) -> Teaching | None:
        """Return what the settings of a model describe, plain values or callables; None without guide and teacher.

        Raises:
            UserError: a teacher that the loss does not read, or a loss that lacks its teacher, or its embeddings.
        """
        name = type(loss).__name__
        if loss.uses_teacher and teacher is None:
            raise UserError(f"model.loss {name} learns from the scores of a teacher: set model.teacher")
        if teacher is not None and not loss.uses_teacher:
            raise UserError(
                f"model.teacher: loss {name} reads no teacher; take MarginMSE or KLDivergence, alone or in a "
                "WeightedSum, or set model.guide for guided negatives"
            )
        if guide is None and teacher is None:
            return None
        make_guide = make(Callable[[], GuidedNegatives] | None, guide)
        make_teacher = make(Callable[[], Teacher] | None, teacher)
        made = cls(make_guide and make_guide(), make_teacher and make_teacher())
        if loss.uses_teacher_embeddings and made.teacher is not None and not made.teacher.has_embeddings:
            raise UserError(
                f"model.loss {name} learns from embeddings, and model.teacher {made.teacher} has none: take a "
                "CheckpointTeacher"
            )
        return made

    @property
    def teachers(self) -> list[Teacher]:
        """The teacher, and the guide's."""
        guide = None if self.guide is None else self.guide.guide
        return [each for each in (guide, self.teacher) if each is not None]

    @property
    def signatures(self) -> dict[str, str]:
        """What the scores and the choice of negatives depend on, for a checkpoint."""
        found = {} if self.guide is None else {"guide": self.guide.signature}
        return found if self.teacher is None else {**found, "teacher": self.teacher.signature}

    def open(self) -> None:
        """Read the files of all teachers, before the data are prepared. Errors as for :meth:`Teacher.open`."""
        for teacher in self.teachers:
            teacher.open()

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Let all teachers prepare for the data. A collective: every process must call it.

        Raises:
            UserError: as for :meth:`Teacher.bind`; the processes have other files.
        """
        if distributed.world_size() > 1:
            check_ranks_agree({f"the signature of the {name}": each for name, each in self.signatures.items()})
        for teacher in self.teachers:
            teacher.bind(data, device)
        for name, each in (("negatives", self.guide), ("teacher", self.teacher)):
            if each is not None:
                log_info(f"{name}: {each}")

    def compare(self, checkpoint: Mapping[str, Any]) -> None:
        """Warn where a resumed fit has another guide or teacher than before."""
        before = checkpoint.get(KEY, {})
        for name, now in self.signatures.items():
            if before.get(name, now) != now:
                warn(f"the checkpoint was trained with another {name}: {before[name]}; the fit continues with {now}")

    # -- scores -------------------------------------------------------------------------------------------------------

    def judge(self, scores: Scores, rows: Tensor, candidates: Tensor) -> Scores:
        """Return the scores with the teacher's, and without the negatives that the guide leaves out.

        Args:
            scores: the scored batch: (Q, C), or (Q, n) where each row has its own columns.
            rows: (Q,) rows of the interaction table.
            candidates: corpus rows of the columns, (C,) or (Q, n).
        """
        if self.guide is not None:
            guide, target = self.guide.guide, scores.target[:, None]
            found = scores.logits.detach() if guide is None else guide.score(rows, candidates)
            counts = ~(found > self.guide.limit(found.gather(1, target), scores.label))  # (Q, C), without a score, too
            scores = scores._replace(valid=(scores.valid & counts).scatter(1, target, True))
        if self.teacher is not None:
            scores = scores._replace(teacher=Taught(self.teacher.score(rows, candidates), self.teacher.partial))
        return scores

    def compare_embeddings(
        self, scores: Scores, rows: Tensor, candidates: Tensor, query: Tensor, candidate: Tensor
    ) -> Scores:
        """Return judged scores with the distance of the model's embeddings from the teacher's.

        Args:
            scores: of :meth:`judge`.
            rows: (Q,) rows of the interaction table.
            candidates: (Q,) corpus rows of their own candidates.
            query: (Q, D) the model's embeddings of the rows' queries.
            candidate: (Q, D) the model's embeddings of their own candidates.

        Raises:
            UserError: the teacher's embeddings have other widths.
        """
        assert self.teacher is not None
        assert scores.teacher is not None
        error = torch.zeros_like(query[:, 0], dtype=torch.float32)
        for side, own, other in zip(
            ("query", "candidate"), (query, candidate), self.teacher.embed(rows, candidates), strict=True
        ):
            if own.shape != other.shape:
                raise UserError(
                    f"model.loss compares {side} embeddings of width {own.shape[1]} with those of teacher "
                    f"{self.teacher}, of width {other.shape[1]}; give the towers the teacher's output_dim"
                )
            error = error + (own.float() - other).square().mean(1) / 2
        return scores._replace(teacher=scores.teacher._replace(error=error))

    def transposed(
        self, rows: Tensor, candidates: Tensor, label: Tensor | None, positive: Tensor, gather: bool
    ) -> TransposedTeaching:
        """Return the same for the problem with the sides exchanged.

        Args:
            rows: (Q,) rows of the interaction table, in this process.
            candidates: (Q,) corpus rows of their own candidates.
            label: (Q,) whether they are liked.
            positive: (Q,) the model's logits of each query with its own candidate.
            gather: the queries of all processes are columns.
        """
        limit = None
        if self.guide is not None:
            guide = self.guide.guide
            found = positive[:, None] if guide is None else guide.score(rows, candidates[:, None])
            limit = self.guide.limit(found, label).squeeze(1)
            limit = distributed.gather_rows(limit) if gather else limit
        return TransposedTeaching(self, distributed.gather_rows(rows) if gather else rows, candidates, limit)


class TransposedTeaching(NamedTuple):
    """The judgement of each row's candidate against the queries of all processes, each with its own limit."""

    teaching: Teaching
    rows: Tensor  # (P,) rows of the interaction table: the queries that are columns
    candidates: Tensor  # (Q,) corpus rows of this process's rows
    limit: Tensor | None  # (P,) greatest score of a negative of each query; None without a guide

    def judge(self, scores: Scores, numbers: Tensor | None) -> Scores:
        """Return scores (Q, P) of the numbered rows' candidates as :meth:`Teaching.judge` does; None = all rows."""
        candidates = self.candidates if numbers is None else self.candidates[numbers]
        guided, teacher = self.teaching.guide, self.teaching.teacher
        if guided is not None:
            assert self.limit is not None
            own = scores.logits.detach() if guided.guide is None else guided.guide.score(self.rows, candidates).T
            counts = ~(own > self.limit)
            scores = scores._replace(valid=(scores.valid & counts).scatter(1, scores.target[:, None], True))
        if teacher is not None:
            scores = scores._replace(teacher=Taught(teacher.score(self.rows, candidates).T, teacher.partial))
        return scores
