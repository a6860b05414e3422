"""What ``bench.py`` feeds to both sides: texts that ship with the package, and events that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.sources import Emoji, Frames, Tldr
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.features import Categorical, Numeric

CYRILLIC = ["ru", "uk"]
OTHERS = ["bn", "hi", "th", "ja", "ko", "zh", "zh-hant"]


def shipped_lines(num_lines: int) -> dict[str, pl.Series]:
    """Lines by their script."""
    tldr, emoji = Tldr().tables(), Emoji(languages=[*CYRILLIC, *OTHERS]).tables()
    assert tldr.queries is not None
    assert tldr.candidates is not None
    assert emoji.queries is not None
    assert emoji.candidates is not None
    english = [pl.concat([tldr.queries["query"], tldr.candidates["text"]]), emoji.candidates["name"]]
    foreign = emoji.queries.filter(~pl.col("query").str.contains(r"\p{Latin}"))
    cyrillic = pl.col("lang").is_in(CYRILLIC)
    lines = {"English": _joined(english, num_lines)}
    for kind, chosen in (("Cyrillic", cyrillic), ("other scripts", ~cyrillic)):
        lines[kind] = _joined([foreign.filter(chosen)["query"]] * 3, num_lines)
    return lines


def _joined(parts: list[pl.Series], num_lines: int) -> pl.Series:
    """Texts drawn from each part, side by side."""
    drawn = [part.sample(num_lines, with_replacement=True, seed=n).alias(str(n)) for n, part in enumerate(parts)]
    return pl.DataFrame(drawn).select(pl.concat_str(pl.all(), separator=" ")).to_series()


def dense_data(num_events: int, cache_dir: str) -> RetrievalDataModule:
    """Events of a tenth as many queries and a fortieth as many candidates, all of whose columns are dense."""
    rng, Q, N = np.random.default_rng(0), num_events // 10, num_events // 40
    events = {"query_id": rng.integers(Q, size=num_events), "candidate_id": rng.integers(N, size=num_events)}
    queries = {"query_id": np.arange(Q), "job": rng.integers(20, size=Q), "age": rng.random(Q)}
    candidates = {"candidate_id": np.arange(N), "kind": rng.integers(9, size=N), "year": rng.random(N)}
    return RetrievalDataModule(
        Frames(pl.DataFrame(events), pl.DataFrame(queries), pl.DataFrame(candidates)),
        query=[Categorical(name="query_id"), Categorical(name="job"), Numeric(name="age")],
        candidate=[Categorical(name="candidate_id"), Categorical(name="kind"), Numeric(name="year")],
        split=RandomRows(test=0.1, validation=0.0),
        cache_dir=cache_dir,
    )


def made_up_100k(root: Path, num_ratings: int) -> Path:
    """Files of MovieLens-100K's format and shapes below ``root``, which is returned: as many users, films and words.

    Films are about as unevenly popular, so that a batch has about as many distinct ones, and each user's ratings are
    near one another in time.
    """
    rng, folder = np.random.default_rng(0), root / "ml-100k"
    folder.mkdir(parents=True)
    users, films, words = np.arange(1, 944), np.arange(1, 1683), rng.zipf(1.3, (1682, 3)) % 2400
    popularity, drawn = np.exp(-films / 330), 2 * num_ratings
    user, film = rng.choice(users, drawn), rng.choice(films, drawn, p=popularity / popularity.sum())
    time = rng.integers(874_724_710, 893_286_638, len(users))[user - 1] + rng.integers(0, 20_000, drawn)
    ratings = pl.DataFrame({"user": user, "film": film, "rating": rng.integers(1, 6, drawn), "time": time})
    ratings = ratings.unique(["user", "film"], maintain_order=True).head(num_ratings)
    for name, rows in (("u.data", ratings), ("ua.base", ratings[1:]), ("ua.test", ratings[:1])):
        rows.write_csv(folder / name, separator="\t", include_header=False)
    titles = [f"{' '.join(f'w{word}' for word in row)} (1995)" for row in words]
    genres = {f"genre {n}": films % 2 for n in range(19)}
    tables = {
        "u.user": {
            "id": users,
            "age": users % 60,
            "gender": ["F"] * 943,
            "work": ["none"] * 943,
            "zip": ["10000"] * 943,
        },
        "u.item": {
            "id": films,
            "title": titles,
            "date": ["01-Jan-1995"] * 1682,
            "video": [""] * 1682,
            "imdb": [""] * 1682,
        }
        | genres,
        "u.genre": {"genre": list(genres), "number": range(19)},
    }
    for name, columns in tables.items():
        pl.DataFrame(columns).write_csv(folder / name, separator="|", include_header=False, quote_style="never")
    return root
