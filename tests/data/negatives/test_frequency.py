"""The probability that a row owns a candidate: counted in the rows, or estimated from the batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dssm_lightning.data.negatives.frequency import CountedFrequency, StreamingFrequency

P = torch.tensor([0.5, 0.25, 0.15, 0.08, 0.02], dtype=torch.float64)


def streaming(**arguments: Any) -> StreamingFrequency:
    frequency = StreamingFrequency(**arguments)
    frequency.bind(torch.zeros(0, dtype=torch.int64), 5)
    return frequency


def feed(frequency: StreamingFrequency, ids: Tensor) -> None:
    frequency.hold(ids)
    frequency.commit()


def stream(steps: int, batch_size: int, p: Tensor = P) -> Tensor:
    """(steps, B) draws."""
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(p, steps * batch_size, True, generator=generator).view(steps, batch_size)


def test_counted() -> None:
    frequency = CountedFrequency()
    frequency.bind(torch.tensor([3, 0, 3, 1]), 5)
    assert frequency(torch.tensor([0, 3, 4])).tolist() == [0.25, 0.5, 0]


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_a_stationary_stream_is_learnt(batch_size: int) -> None:
    """At any batch size: popular candidates occur several times in a batch, rare candidates in few batches."""
    frequency = streaming(alpha=0.002)
    for ids in stream(200_000 // batch_size, batch_size):
        feed(frequency, ids)
    torch.testing.assert_close(frequency(torch.arange(5)), P, rtol=0.15, atol=0)  # five times √(α / 2)


def test_by_a_loop() -> None:
    """Algorithm 2 in a loop: c occurrences in a batch are c intervals of a c-th of the time since the last one."""
    frequency, alpha = streaming(alpha=0.3), 0.3
    interval, last, seen, rows = [0.0] * 5, [0] * 5, [0] * 5, 0
    for ids in stream(50, 4):
        feed(frequency, ids)
        rows += 4
        for candidate in set(ids.tolist()):
            count = ids.tolist().count(candidate)
            seen[candidate] += count
            elapsed = (rows - last[candidate]) / count
            rate = max(1 - (1 - alpha) ** count, count / seen[candidate])
            interval[candidate] = (1 - rate) * interval[candidate] + rate * elapsed
            last[candidate] = rows
    found = [candidate for candidate in range(5) if seen[candidate]]
    assert len(found) > 3
    assert frequency(torch.tensor(found)).tolist() == pytest.approx([1 / interval[candidate] for candidate in found])


def test_it_follows_a_change() -> None:
    frequency = streaming(alpha=0.01)
    for ids in torch.cat([stream(2000, 16), stream(2000, 16, P.flip(0))]):
        feed(frequency, ids)
    torch.testing.assert_close(frequency(torch.arange(5)), P.flip(0), rtol=0.36, atol=0)


def test_a_candidate_that_was_never_seen_counts_as_one_of_all_rows() -> None:
    frequency = streaming()
    assert frequency(torch.tensor([2])).item() == 1  # nothing is known: all candidates are equal
    feed(frequency, torch.tensor([0, 0, 1, 0]))
    assert frequency(torch.tensor([0, 1, 2])).tolist() == pytest.approx([3 / 4, 1 / 4, 1 / 4])


def test_candidates_in_one_bucket_share_the_sum_of_their_frequencies() -> None:
    frequency = streaming(alpha=0.01, num_buckets=1)
    for ids in stream(300, 8):
        feed(frequency, ids)
    assert frequency(torch.arange(5)).tolist() == pytest.approx([1.0] * 5)
    wide, exact = streaming(num_buckets=10_000), streaming()
    for ids in stream(300, 8):
        feed(wide, ids)
        feed(exact, ids)
    assert torch.equal(wide(torch.arange(5)), exact(torch.arange(5)))


def test_a_batch_counts_once_and_only_when_it_was_trained_on() -> None:
    frequency = streaming()
    frequency.hold(torch.tensor([1, 1]))
    frequency.hold(torch.tensor([2, 3]))  # the first batch was interrupted and is made again
    before = frequency(torch.arange(5))
    assert before.tolist() == [1] * 5
    frequency.commit()
    after = frequency(torch.arange(5))
    assert after.tolist() == pytest.approx([0.5] * 5)
    frequency.commit()
    assert torch.equal(frequency(torch.arange(5)), after)


def test_a_restored_estimate_is_equal_to_the_last_bit(tmp_path: Path) -> None:
    one, two = streaming(alpha=0.1), streaming(alpha=0.1)
    batches = stream(40, 8)
    for ids in batches[:20]:
        feed(one, ids)
    torch.save(one.state_dict(), tmp_path / "state")
    two.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for ids in batches[20:]:
        feed(one, ids)
        feed(two, ids)
    assert torch.equal(one(torch.arange(5)), two(torch.arange(5)))
    with pytest.raises(ValueError, match=r"StreamingFrequency: .*5 buckets, .*7; .*num_buckets"):
        streaming(num_buckets=7).load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0}, "StreamingFrequency: alpha is 0; .*above 0"),
        ({"alpha": 1.5}, r"StreamingFrequency: alpha is 1\.5"),
        ({"num_buckets": 0}, "StreamingFrequency: num_buckets is 0; .*1"),
    ],
)
def test_impossible_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamingFrequency(**arguments)
