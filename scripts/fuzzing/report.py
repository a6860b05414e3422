"""What a run says at its end."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fuzzing.tally import Fault, Tally
from fuzzing.watched_server import Use, WatchedServer

GROWTH = 0.05
"""By which the memory may grow after the warm-up."""
SHOWN = 25


class Mark(NamedTuple):
    """What must hold, and whether it does."""

    what: str
    found: str
    holds: bool


def marks(
    server: WatchedServer, tally: Tally, before: Use, after: Use, status: int | None, reloads: bool = False
) -> list[Mark]:
    """Judge a run.

    Args:
        server: that has ended.
        tally: of the run.
        before: what the server used after its warm-up.
        after: what it used at the end.
        status: with which it ended.
        reloads: whether it has opened its bundles anew. What it has read of their files since then is mapped, and not
            counted: the system counts it by what was touched.
    """
    errors = sum(fault.what.startswith("status 5") for fault in tally.faults)
    others, complaints = len(tally.faults) - errors, server.complaints
    growth = after.anonymous / before.anonymous - 1 if reloads else after.resident / before.resident - 1
    peak = max((each.resident for each in server.samples), default=after.resident)
    return [
        Mark("answers with an unexpected 5xx", str(errors), not errors),
        Mark("no answer, no status, malformed, hanging", str(others), not others),
        Mark("lines of errors in the log", str(len(complaints)), not complaints),
        Mark("the process ended by itself, or not by SIGTERM", f"status {status}", status == 0),
        Mark(
            "private memory" if reloads else "resident memory",
            f"{growth:+.1%}; resident {before.resident / 1024:.1f} -> {after.resident / 1024:.1f} MiB, private "
            f"{before.anonymous / 1024:.1f} -> {after.anonymous / 1024:.1f}, at most {peak / 1024:.1f} resident",
            growth <= GROWTH,
        ),
        Mark("descriptors", f"{before.descriptors} -> {after.descriptors}", after.descriptors <= before.descriptors),
    ]


def table(tally: Tally) -> str:
    """Return the requests and statuses of each kind."""
    rows = [("kind", "requests", "2xx", "4xx", "5xx", "statuses")]
    total: Counter[int] = Counter()
    for kind, statuses in tally.statuses.items():
        total += statuses
        row = _row(kind, tally.requests[kind], statuses)
        rows.append(row if tally.requests[kind] else (*row[:5], f"{tally.plans[kind]:,} connections"))
    rows.append(_row("all", tally.total, total))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(row[n].rjust(widths[n]) for n in range(1, 5)), row[5]]) for row in rows
    )


def _row(kind: str, requests: int, statuses: Counter[int]) -> tuple[str, ...]:
    def count(hundred: int) -> str:
        return f"{sum(number for status, number in statuses.items() if status // 100 == hundred):,}"

    shown = " ".join(f"{status}:{number}" for status, number in sorted(statuses.items()))
    return kind, f"{requests:,}", count(2), count(4), count(5), shown


def judged(found: list[Mark]) -> str:
    """Return the marks as lines."""
    width = max(len(mark.what) for mark in found)
    return "\n".join(
        f"{'ok    ' if mark.holds else 'MISSED'}  {mark.what.ljust(width)}  {mark.found}" for mark in found
    )


def described(faults: list[Fault]) -> list[str]:
    """Return lines of the first faults, of each kind and text some, with what was sent."""
    seen: Counter[tuple[str, str]] = Counter()
    lines = []
    for fault in faults:
        seen[fault.kind, fault.what[:60]] += 1
        if seen[fault.kind, fault.what[:60]] <= 3 and len(lines) < SHOWN:
            lines.append(f"{fault.kind}: {fault.what}; sent {len(fault.sent):,} bytes: {fault.sent[:400]!r}")
    return lines
