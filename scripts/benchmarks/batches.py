"""Batches as ``bench.py`` times their assembly."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks import rivals
from benchmarks.inputs import dense_data
from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.utils.seeding import Counter


def batches(num_events: int = 200_000, batch_size: int = 1024, num_batches: int = 100, repeats: int = 5) -> Section:
    """Batches by indexing whole columns, against a `Dataset` of rows with torch's `DataLoader` and `default_collate`.

    Three dense columns on each side: an id, a category, a number. Ours also makes the candidates distinct, counts them,
    and finds what each query is known to like.
    """
    with TemporaryDirectory() as folder:
        data = dense_data(num_events, folder)
        rows = data.assembler.rows
        order = rows[torch.randperm(len(rows), generator=Counter(0).generator("shuffle"))][: num_batches * batch_size]
        parts = torch.split(order, batch_size)
        loader = rivals.row_loader(data.data, order.tolist(), batch_size)
        batch, collated = data.assembler.batch(parts[0], Counter(0)), next(iter(loader))
        for name, column in (batch.query | batch.candidates.features).items():
            assert isinstance(column, Tensor)
            mine = column if name in batch.query else column[batch.target]
            assert torch.equal(mine, collated[name]), f"the sides batch the same {name}"

        def ours() -> None:
            for part in parts:
                data.assembler.batch(part, Counter(0))

        def theirs() -> None:
            for _ in loader:
                pass

        seconds = alternate([ours, theirs], repeats)
    limit, each_side = "bytes of the batch at memory speed", (rates(len(order), each) for each in seconds)
    row = Row(f"batches of {batch_size:,} rows", "rows/s", *each_side, limit=limit)
    return Section("Batch assembly", [row])
