"""Small data sets of different kinds, as other programs would have written them: cut from public ones, or made up.

Each maker writes files into a folder, and returns the words after `init`. Those that need a folder of public data skip
without it. MovieLens, MedQuAD: see docs/results.md for where they come from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl

from dssm_lightning.data.sources import Emoji, Tldr

SEED = 14


def films(folder: Path, data: Path) -> list[str]:
    """Ratings of 600 people with times, `;` between the fields; films in Latin-1, genres in one cell."""
    names = ["person", "film", "stars", "when"]
    ratings = pl.read_csv(data / "ml-100k" / "u.data", separator="\t", has_header=False, new_columns=names)
    people = ratings["person"].unique().sort().sample(600, seed=SEED)
    ratings = ratings.filter(pl.col("person").is_in(people.implode())).sample(fraction=1, shuffle=True, seed=SEED)
    ratings.write_csv(folder / "stars.csv", separator=";")
    genres = [line.split("|")[0] for line in (data / "ml-100k" / "u.genre").read_text().split()]
    lines = ["film;title;year;kinds"]
    for line in (data / "ml-100k" / "u.item").read_text(encoding="latin-1").splitlines():
        number, title, date, *rest = line.split("|")
        kinds = ",".join(genre for genre, flag in zip(genres, rest[2:], strict=True) if flag == "1")
        lines.append(f'{number};"{title}";{date[-4:]};{kinds}')
    (folder / "films.csv").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return ["--interactions", "stars.csv", "--candidates", "films.csv"]


def likes(folder: Path, data: Path) -> list[str]:
    """Liked films without times and without anything else: `::` between two numbers, no header."""
    columns = ["user", "film", "rating", "time"]
    lines = (data / "ml-1m" / "ratings.dat").read_text().replace("::", "\t")
    ratings = pl.read_csv(lines.encode(), separator="\t", has_header=False, new_columns=columns)
    users = ratings["user"].unique().sort().sample(1_000, seed=SEED)
    liked = ratings.filter(pl.col("user").is_in(users.implode()) & (pl.col("rating") >= 4))
    pairs = liked.sample(fraction=1, shuffle=True, seed=SEED)
    text = "".join(f"{user}::{film}\n" for user, film in pairs.select("user", "film").iter_rows())
    (folder / "likes.dat").write_text(text)
    return ["--interactions", "likes.dat"]


def keywords(folder: Path, data: Path) -> list[str]:
    """English keywords of emoji: a search by very short texts, tab-separated."""
    return _emoji(folder, "en")


def foreign_keywords(folder: Path, data: Path) -> list[str]:
    """Russian keywords of emoji with English names: no word of the query occurs in a candidate."""
    return _emoji(folder, "ru")


def _emoji(folder: Path, language: str) -> list[str]:
    tables = Emoji(languages=[language]).tables()
    assert tables.queries is not None
    assert tables.candidates is not None
    key = tables.keys
    queries = tables.queries.filter(pl.col("kind") == "tag").select(key.query_id, pl.col("query").alias("keyword"))
    pairs = tables.interactions.join(queries, on=key.query_id).select(
        "keyword", pl.col(key.candidate_id).alias("emoji")
    )
    pairs.unique(maintain_order=True).write_csv(folder / "keywords.tsv", separator="\t", quote_style="never")
    signs = tables.candidates.select(pl.col(key.candidate_id).alias("emoji"), "name", "category", "subcategory")
    signs.write_csv(folder / "signs.tsv", separator="\t", quote_style="never")
    return ["--interactions", "keywords.tsv", "--candidates", "signs.tsv"]


def tasks(folder: Path, data: Path) -> list[str]:
    """Descriptions of tasks and the pages of commands: a search with 3,000 texts, in JSON Lines."""
    tables = Tldr().tables()
    assert tables.candidates is not None
    texts = tables.interactions["query"].unique().sort().sample(3_000, seed=SEED)
    pairs = tables.interactions.filter(pl.col("query").is_in(texts.implode())).select("query", "page_id")
    pairs.rename({"query": "task", "page_id": "page"}).write_ndjson(folder / "asked.jsonl")
    pages = tables.candidates.select(pl.col("page_id").alias("page"), "platform", "title", "description")
    pages.write_ndjson(folder / "pages.jsonl")
    return ["--interactions", "asked.jsonl", "--candidates", "pages.jsonl"]


def questions(folder: Path, data: Path) -> list[str]:
    """900 pairs of raw texts, a medical question and its answer, among 11,000 answers."""
    pairs = _medical(data)
    chosen = pairs.sample(900, seed=SEED)
    others = (
        pairs["answer"]
        .unique(maintain_order=True)
        .filter(~pairs["answer"].unique(maintain_order=True).is_in(chosen["answer"].implode()))
    )
    corpus = [*dict.fromkeys([*chosen["answer"], *others])][:11_000]
    number = {answer: row for row, answer in enumerate(corpus)}
    asked = chosen.select("question", pl.Series("answer_id", [number[answer] for answer in chosen["answer"]]))
    asked.write_csv(folder / "questions.csv")
    pl.DataFrame({"answer_id": range(len(corpus)), "answer": corpus}).write_csv(
        folder / "answers.csv.gz", compression="gzip"
    )
    return ["--interactions", "questions.csv", "--candidates", "answers.csv.gz"]


def raw_texts(folder: Path, data: Path) -> list[str]:
    """3,000 pairs of raw texts in one file, without any id."""
    chosen = _medical(data).sample(3_000, seed=SEED)
    lines = [json.dumps({"question": q, "answer": a}) for q, a in chosen.select("question", "answer").iter_rows()]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return ["--interactions", "pairs.jsonl"]


def sentences(folder: Path, data: Path) -> list[str]:
    """Questions, each with its own list of sentences, of which those of its answer are right: re-ranking."""
    pairs = _medical(data)
    rng, rows = np.random.default_rng(SEED), []
    by_focus = {str(focus[0]): group for focus, group in pairs.group_by("focus", maintain_order=True)}
    for name in sorted(by_focus):
        group = by_focus[name]
        if len(group) < 3:
            continue
        place = int(rng.integers(len(group)))
        for row, answer in enumerate(group["answer"]):
            parts = [part.strip() for part in answer.replace("\n", " ").split(". ") if 30 < len(part) < 400]
            rows += [(group["question"][place], part, int(row == place)) for part in parts[:3]]
    listed = pl.DataFrame(rows, schema=["question", "sentence", "correct"], orient="row").unique(maintain_order=True)
    some = listed["question"].unique(maintain_order=True)[:600]
    listed.filter(pl.col("question").is_in(some.implode())).write_csv(folder / "sentences.csv")
    return ["--interactions", "sentences.csv"]


def _medical(data: Path) -> pl.DataFrame:
    lines = (data / "medquad" / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    table = pl.DataFrame({name: [row[name] for row in rows] for name in ("question", "answer", "focus")})
    return table.with_columns(pl.col("answer").str.slice(0, 2_000)).unique("question", maintain_order=True)


def pictures(folder: Path, data: Path) -> list[str]:
    """Pictures in a folder, and names and keywords that should find them."""
    target = folder / "signs"
    target.mkdir()
    items = pl.read_csv(data / "emoji" / "items.tsv", separator="\t", quote_char=None)
    items = items.filter(pl.col("noto_png").is_not_null()).sample(1_200, seed=SEED)
    for file in items["noto_png"]:
        (target / Path(file).name).write_bytes((data / "emoji" / "noto64" / Path(file).name).read_bytes())
    queries = pl.read_csv(data / "emoji" / "queries.tsv", separator="\t", quote_char=None)
    pairs = queries.filter(pl.col("lang") == "en").join(items, on="unified")
    names = pl.col("noto_png").str.split("/").list.last()
    pairs.select("query", names.alias("picture")).unique(maintain_order=True).write_csv(folder / "words.csv")
    return ["--interactions", "words.csv", "--candidates", "signs"]


def clicks(folder: Path, data: Path) -> list[str]:
    """Made up: what 800 visitors of a radio were played, and clicked or not; labels of 1 and 0."""
    rng = np.random.default_rng(SEED)
    taste, style = rng.normal(size=(800, 4)), rng.normal(size=(600, 4))
    rows = []
    for visitor in range(800):
        for song in rng.choice(600, 40, replace=False):
            liked = rng.random() < 1 / (1 + np.exp(2.0 - 1.5 * float(taste[visitor] @ style[song])))
            rows.append((f"v{visitor}", f"s{song}", int(liked)))
    pl.DataFrame(rows, schema=["visitor", "song", "clicked"], orient="row").write_csv(folder / "played.csv")
    names = ["slow", "loud", "new", "vocal"]
    moods = ["|".join(n for n, v in zip(names, row, strict=True) if v > 0.5) for row in style]
    songs = {"song": [f"s{n}" for n in range(600)], "moods": moods, "seconds": rng.integers(90, 400, 600)}
    pl.DataFrame(songs).write_csv(folder / "songs.csv")
    return ["--interactions", "played.csv", "--candidates", "songs.csv"]


def news(folder: Path, data: Path) -> list[str]:
    """Made up: 1,500 readers and 4,000 articles that are read for a day or two; most are read a few times or never."""
    rng = np.random.default_rng(SEED)
    words = [[f"{topic}{n}" for n in range(40)] for topic in ("sea", "law", "tax", "art", "sun", "gas", "job", "war")]
    topic, day = rng.integers(8, size=4_000), np.sort(rng.uniform(0, 60, 4_000))
    titles = [
        " ".join(rng.choice(words[t], 4)) + " " + " ".join(rng.choice(words[int(rng.integers(8))], 1)) for t in topic
    ]
    start, rows = datetime(2024, 1, 1, tzinfo=timezone.utc), []
    for reader in range(1_500):
        liked = rng.dirichlet(np.full(8, 0.25))
        for moment in np.sort(rng.uniform(1, 60, 8)):
            fresh = np.flatnonzero((day < moment) & (day > moment - 2))
            weight = liked[topic[fresh]] + 0.01
            article = rng.choice(fresh, p=weight / weight.sum())
            at = start + timedelta(days=float(moment))
            rows.append((f"r{reader}", int(article), at.strftime("%Y-%m-%d %H:%M:%S")))
    reads = pl.DataFrame(rows, schema=["reader", "article", "read_at"], orient="row")
    reads.write_ndjson(folder / "reads.jsonl")
    published = [(start + timedelta(days=float(d))).strftime("%Y-%m-%d") for d in day]
    table = {
        "article": range(4_000),
        "headline": titles,
        "section": [f"part {t // 2}" for t in topic],
        "published": published,
    }
    pl.DataFrame(table).write_ndjson(folder / "articles.jsonl")
    return ["--interactions", "reads.jsonl", "--candidates", "articles.jsonl"]


def shop(folder: Path, data: Path) -> list[str]:
    """Made up: 3,000 customers, 2,000 products, what was bought after what; Parquet with dates."""
    return _purchases(folder, 3_000, 2_000)


def market(folder: Path, data: Path) -> list[str]:
    """Made up: the same with 7,200 customers, 10,000 products and about 50,000 purchases."""
    return _purchases(folder, 7_200, 10_000)


def _purchases(folder: Path, customers: int, products: int) -> list[str]:
    rng = np.random.default_rng(SEED)
    kind, price = rng.integers(25, size=products), rng.lognormal(3, 1, products).round(2)
    popular = rng.pareto(1.5, products) + 0.1
    follows = np.array([rng.dirichlet(np.full(25, 0.1)) for _ in range(25)])
    rows = []
    for customer in range(customers):
        last, day = int(rng.integers(25)), rng.uniform(0, 300)
        for _ in range(int(rng.integers(3, 12))):
            weight = popular * (0.9 * follows[last][kind] * 25 + 0.05)
            item = int(rng.choice(products, p=weight / weight.sum()))
            rows.append((customer, f"P{item:05d}", datetime(2023, 1, 1) + timedelta(days=float(day))))
            last, day = int(kind[item]), day + rng.exponential(7)
    bought = pl.DataFrame(rows, schema=["customer", "sku", "bought_at"], orient="row")
    bought.write_parquet(folder / "bought.parquet")
    sold = {"sku": [f"P{n:05d}" for n in range(products)], "department": [f"D{k}" for k in kind], "price": price}
    pl.DataFrame(sold).write_parquet(folder / "products.parquet")
    countries = rng.choice(["FR", "DE", "PL"], customers)
    pl.DataFrame({"customer": range(customers), "country": countries}).write_parquet(folder / "customers.parquet")
    return ["--interactions", "bought.parquet", "--queries", "customers.parquet", "--candidates", "products.parquet"]


def quotes(folder: Path, data: Path) -> list[str]:
    """Made up: one flat table of 6,000 people who are asked once, what they are, and which of 80 plans they took."""
    rng = np.random.default_rng(SEED)
    age, town, need = rng.integers(18, 80, 6_000), rng.integers(30, size=6_000), rng.integers(6, size=6_000)
    wants = rng.normal(size=(6, 80)) * 1.5
    regional = rng.normal(size=(30, 80)) * 0.7
    slope = rng.normal(size=80)
    score = wants[need] + regional[town] + np.outer((age - 50) / 15, slope) + rng.gumbel(size=(6_000, 80))
    table = {
        "person_id": [f"p{n}" for n in range(6_000)],
        "age": age,
        "town": [f"town {t}" for t in town],
        "need": [f"need {n}" for n in need],
        "plan_id": score.argmax(1),
    }
    pl.DataFrame(table).write_csv(folder / "quotes.csv", separator="|")
    return ["--interactions", "quotes.csv", "--candidate_id", "plan_id"]


MAKERS: dict[str, tuple[Callable[[Path, Path], list[str]], str, str | None]] = {
    "films": (films, "ratings with times, 600 people", "ml-100k"),
    "likes": (likes, "pairs of two numbers, no header", "ml-1m"),
    "keywords": (keywords, "short queries, 1,911 signs", None),
    "foreign_keywords": (foreign_keywords, "queries in another language", None),
    "tasks": (tasks, "3,000 queries, 7,425 pages", None),
    "questions": (questions, "900 pairs, 11,000 long answers", "medquad"),
    "raw_texts": (raw_texts, "3,000 pairs of texts, no ids", "medquad"),
    "sentences": (sentences, "lists of sentences to re-rank", "medquad"),
    "pictures": (pictures, "words → pictures in a folder", "emoji"),
    "clicks": (clicks, "shown, and clicked or not", None),
    "news": (news, "new articles every day", None),
    "shop": (shop, "purchases with dates", None),
    "market": (market, "50,000 purchases, 10,000 products", None),
    "quotes": (quotes, "one flat table, asked once", None),
}
"""By name: the maker, the kind, and the folder of public data that it needs."""
