"""What is counted of a run, and what was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from fuzzing.answers import Answer
from fuzzing.plans import Plan

SHOWN = 300
"""Bytes of a plan that are shown with what was wrong."""


class Fault(NamedTuple):
    """Something that must not happen."""

    kind: str
    what: str
    sent: bytes


class Tally:
    """Counts requests and statuses by kind.

    Args:
        expected: statuses of 5xx that are provoked, and are counted apart.
        may_close: whether connections may end without an answer, since there are too many.
    """

    def __init__(self, expected: Collection[int] = (), may_close: bool = False) -> None:
        self._expected, self._may_close = expected, may_close
        self.plans: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.statuses: dict[str, Counter[int]] = {}
        self.faults: list[Fault] = []
        self.unanswered = 0
        """Requests without an answer, where that may be."""

    def begin(self, plan: Plan) -> None:
        """Count what is sent."""
        self.plans[plan.kind] += 1
        self.requests[plan.kind] += plan.requests
        self.statuses.setdefault(plan.kind, Counter())

    def end(self, plan: Plan, answers: Sequence[Answer], bodiless: bool) -> None:
        """Count what came back, and judge it."""
        for answer in answers:
            self.statuses[plan.kind][answer.status] += 1
            fault = answer.fault(bodiless)
            if answer.status >= 500 and answer.status not in self._expected:
                fault = f"status {answer.status}: {answer.body[:200]!r}"
            if fault is not None:
                self.fault(plan, fault)
        finals = sum(answer.status >= 200 for answer in answers)
        if (
            plan.answers is None
            or finals == plan.answers
            or (answers and answers[-1].is_last and finals < plan.answers)
        ):
            return
        if self._may_close and finals < plan.answers:
            self.unanswered += plan.answers - finals
        else:
            self.fault(plan, f"{finals} answers to {plan.answers} requests")

    def fault(self, plan: Plan, what: str) -> None:
        """Note something that must not happen."""
        self.faults.append(Fault(plan.kind, what, b"".join(plan.parts)))

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.requests.values())

    def count(self, statuses: Collection[int]) -> int:
        """Return how many answers had one of some statuses."""
        return sum(each[status] for each in self.statuses.values() for status in statuses)
