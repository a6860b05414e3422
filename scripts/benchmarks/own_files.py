"""The tables of a newcomer's shop, made up: 50,000 purchases of 10,000 products, as `configs/files.yaml` names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from example_shop import COLOURS, COUNTRIES, KINDS, MAKERS, THINGS
from numpy.typing import NDArray

SEED, YEAR = 1, 365 * 86_400
START = 1_704_067_200
"""1 January 2024, in seconds."""
LINES = 4_000
"""Names of product lines: with them, titles have as many distinct words as real ones of this number."""
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]

Rows = NDArray[np.int64]


def write_own_files(folder: Path, users: int = 10_000, items: int = 10_000, events: int = 50_000) -> None:
    """Write `interactions.csv`, `users.csv` and `items.csv`.

    Products are of twelve kinds. What somebody buys next follows from the kind of the last purchase and from how
    popular a product is.

    Args:
        folder: where they are written.
        users: number of customers.
        items: number of products.
        events: number of purchases, about.
    """
    draw = np.random.default_rng(SEED)
    kind = draw.integers(len(KINDS), size=items)
    table = {
        "item_id": np.arange(items) + 100_000,
        "title": _titles(kind, draw),
        "category": [KINDS[each] for each in kind],
        "price": draw.lognormal(3, 1, items).round(2),
    }
    pl.DataFrame(table).write_csv(folder / "items.csv")
    people = {
        "user_id": np.arange(users) + 1,
        "country": draw.choice(COUNTRIES, users),
        "age": draw.integers(18, 80, users),
    }
    pl.DataFrame(people).write_csv(folder / "users.csv")
    user, item, time = _purchases(draw, users, kind, events)
    bought = pl.DataFrame({"user_id": user + 1, "item_id": item + 100_000, "timestamp": time})
    bought.sort("timestamp", maintain_order=True).write_csv(folder / "interactions.csv")


def _titles(kind: Rows, draw: np.random.Generator) -> list[str]:
    """Return titles such as "Borea Kamito desk lamp, blue"."""
    lines = ["".join(draw.choice(SYLLABLES, 3)).title() for _ in range(LINES)]
    return [
        f"{draw.choice(MAKERS)} {draw.choice(lines)} {draw.choice(THINGS[KINDS[each]])}, {draw.choice(COLOURS)}"
        for each in kind
    ]


def _purchases(draw: np.random.Generator, users: int, kind: Rows, events: int) -> tuple[Rows, Rows, Rows]:
    """Return the users, the products and the times of all purchases: the n-th of every user at once."""
    appeal = draw.pareto(3.0, len(kind)) + 0.3
    products = [np.flatnonzero(kind == number) for number in range(len(KINDS))]
    odds = [np.cumsum(appeal[each]) / appeal[each].sum() for each in products]
    follows = np.cumsum(draw.dirichlet(np.full(len(KINDS), 0.2), len(KINDS)), axis=1)
    left = 3 + draw.poisson(max(0.0, events / users - 3), users)  # purchases of each user
    now, day = draw.integers(len(KINDS), size=users), draw.uniform(0, 0.7, users)
    found = []
    for turn in range(int(left.max())):
        user = np.flatnonzero(left > turn)
        now[user] = (draw.random(len(user))[:, None] > follows[now[user]]).sum(1).clip(max=len(KINDS) - 1)
        item = np.empty(len(user), dtype=np.int64)
        for number, (rows, odd) in enumerate(zip(products, odds, strict=True)):
            here = now[user] == number
            item[here] = rows[np.searchsorted(odd, draw.random(int(here.sum()))).clip(max=len(rows) - 1)]
        day[user] += draw.exponential(0.02, len(user))
        found.append((user, item, START + (day[user] * YEAR).astype(np.int64)))
    user, item, time = (np.concatenate(each) for each in zip(*found, strict=True))
    return user, item, time
