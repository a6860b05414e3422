"""Faults that are planted into healthy tables and configs: each is found, with the line of YAML that would mend it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image
import polars as pl
import pytest
import torch
import yaml
from helpers.planted_worlds import START, World, films, shop

from dssm_lightning.cli.commands.doctor import findings_of
from dssm_lightning.inspection.doctor.findings import Finding

Plant = Callable[[World], None]


class Fault(NamedTuple):
    make: Callable[[Path], World]
    plant: Plant
    check: str
    key: str
    """The setting that the finding's line must name, its keys joined by dots."""


FAULTS: dict[str, Fault] = {}


def fault(check: str, key: str, make: Callable[[Path], World] = shop) -> Callable[[Plant], Plant]:
    """Register a function that plants a fault, under its own name."""

    def register(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = Fault(make, plant, check, key)
        return plant

    return register


def setting(check: str, key: str, path: str, value: Any, make: Callable[[Path], World] = shop) -> None:
    """Register a fault of one setting."""
    name = f"{path.rpartition('.')[2]} {value}"
    assert name not in FAULTS
    FAULTS[name] = Fault(make, lambda world: world.set(path, value), check, key)


def places(line: str) -> set[str]:
    """All settings that a line of YAML names, their keys joined by dots; entries of lists count as their list."""
    found = set()

    def walk(value: Any, path: str) -> None:
        found.add(path)
        for key, inner in value.items() if isinstance(value, dict) else ():
            walk(inner, f"{path}.{key}" if path else str(key))

    walk(yaml.safe_load(line), "")
    return found


def wrong(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "note"]


# -- what the trainer and the checkpoint have -------------------------------------------------------------------------

setting("monitor", "checkpoint.monitor", "checkpoint.monitor", "val/ndgc@10")
setting("monitor", "checkpoint.monitor", "checkpoint.monitor", "val/auroc")
setting("monitor", "checkpoint.monitor", "checkpoint.monitor", None)
setting("monitor-mode", "checkpoint.mode", "checkpoint.mode", "min")
setting("monitor-mode", "checkpoint.mode", "checkpoint.monitor", "train/loss")
setting("validation", "data.split.init_args.validation", "data.split.init_args.validation", 0.0)
setting("validation", "trainer.limit_val_batches", "trainer.limit_val_batches", 0)
setting("validation", "trainer.check_val_every_n_epoch", "trainer.check_val_every_n_epoch", 50)
setting("early-stopping", "checkpoint.patience", "checkpoint.patience", None)
setting("early-stopping", "checkpoint.patience", "checkpoint.patience", 20)
setting("epochs", "trainer.max_epochs", "trainer.max_epochs", None)
setting("debugging", "trainer.limit_train_batches", "trainer.limit_train_batches", 5)
setting("accelerator", "trainer.accelerator", "trainer.accelerator", "gpu")

# -- the optimizer, the loss and the layers ---------------------------------------------------------------------------

setting("learning-rate", "model.optimizer.init_args.lr", "model.optimizer.init_args.lr", 1.0)
setting("logit-scale", "model.scorer.init_args.logit_scale", "model.scorer", "Dot")
setting("logit-scale", "model.scorer.init_args.logit_scale", "model.loss", "TripletMargin")
setting("dropout", "model.query_tower.init_args.dropout", "model.query_tower.init_args.dropout", 0.95)
setting("untied-tables", "model.tied_embeddings", "model.tied_embeddings", None)


def cosine(T_max: int) -> dict[str, Any]:
    return {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": T_max}}


@fault("rate-schedule", "model.lr_scheduler.init_args.T_max")
def the_rate_rises_again(world: World) -> None:
    world.model["lr_scheduler"] = cosine(3)


@fault("rate-schedule", "model.lr_scheduler.init_args.T_max")
def the_rate_never_falls(world: World) -> None:
    world.model["lr_scheduler"] = cosine(1000)


@fault("rate-schedule", "model.lr_scheduler.init_args.T_max")
def epochs_in_place_of_steps(world: World) -> None:
    world.model["lr_scheduler"], world.model["lr_scheduler_interval"] = cosine(10), "step"


@fault("model-refused", "model.optimizer.class_path")
def adam_with_sparse_tables(world: World) -> None:
    bag = {"class_path": "EmbeddingBag", "init_args": {"output_dim": 16, "sparse": True}}
    world.tower("query")["encoders"] = {"text": bag}
    world.tower("candidate")["encoders"] = {"title": bag}


@fault("hidden-layers", "model.candidate_tower.init_args.hidden_dims", films)
def layers_over_one_id(world: World) -> None:
    del world.data["candidate"][1]
    world.tower("candidate")["hidden_dims"] = [32]


@fault("width", "model.candidate_tower.init_args.output_dim")
def two_dimensions(world: World) -> None:
    world.tower("query")["output_dim"] = world.tower("candidate")["output_dim"] = 2


@fault("hard-negatives", "data.negatives.init_args.warm_up")
def mined_after_the_end(world: World) -> None:
    hard = {"num_negatives": 4, "rank_range": [10, 50], "warm_up": 50}
    world.data["negatives"] = {"class_path": "Hard", "init_args": hard}


# -- sizes ------------------------------------------------------------------------------------------------------------

setting("batch-size", "data.batch_size", "data.batch_size", 4096)
setting("few-negatives", "data.batch_size", "data.batch_size", 2)
setting("rows-without-negatives", "data.negatives", "data.batch_size", 1)
setting("few-held-out", "data.split.init_args.validation", "data.split.init_args.validation", 0.02)
setting("rank-held-out", "data.rank", "data.rank", "held_out", films)


@fault("table-size", "data.query")
def a_table_for_a_million_words(world: World) -> None:
    world.feature("query")["num_buckets"] = world.feature("candidate")["num_buckets"] = 1 << 17


@fault("collisions", "data.query")
def thirty_two_buckets(world: World) -> None:
    world.feature("query")["num_buckets"] = world.feature("candidate")["num_buckets"] = 32


@fault("parameters", "model.query_tower.init_args.encoders.text")
def nine_thousand_parameters_for_each_pair(world: World) -> None:
    world.feature("query")["num_buckets"] = world.feature("candidate")["num_buckets"] = 1 << 14
    bag = {"class_path": "EmbeddingBag", "init_args": {"output_dim": 300}}
    world.tower("query")["encoders"] = {"text": bag}
    world.tower("candidate")["encoders"] = {"title": bag}


@fault("masked-negatives", "data.negatives", films)
def everybody_likes_most_films(world: World) -> None:
    everything = world.queries.select("user").join(world.candidates.select("film").head(60), how="cross")
    rare = pl.DataFrame({"user": world.queries["user"], "film": [f"f{60 + number % 60}" for number in range(100)]})
    world.interactions = (
        pl.concat([rare, rare.with_columns(film=pl.col("film").shuffle(5)), everything])
        .unique(["user", "film"], maintain_order=True)
        .with_columns(time=pl.int_range(pl.len()) + START)
    )


@fault("small-corpus", "checkpoint.monitor", films)
def ten_of_twenty_candidates(world: World) -> None:
    world.candidates = world.candidates.head(20)
    world.interactions = world.interactions.with_columns(
        film=pl.format("f{}", pl.col("film").str.slice(1).cast(pl.Int64) % 20)
    ).unique(["user", "film"], maintain_order=True)
    world.set("checkpoint.monitor", "val/ndcg@10")


# -- leaks ------------------------------------------------------------------------------------------------------------


@fault("text-leak", "data.split")
def the_same_text_under_other_ids(world: World) -> None:
    again = world.queries.with_columns(query="again " + pl.col("query"))
    world.queries = pl.concat([world.queries, again])
    other = world.interactions.with_columns(query="again " + pl.col("query"), product=pl.col("product").shuffle(3))
    world.interactions = pl.concat([world.interactions, other]).unique(maintain_order=True)


@fault("pair-leak", "data.split.init_args.column")
def the_same_pair_under_other_ids(world: World) -> None:
    world.queries = pl.concat([world.queries, world.queries.with_columns(query="again " + pl.col("query"))])
    other = world.interactions.with_columns(query="again " + pl.col("query"))
    world.interactions = pl.concat([world.interactions, other])


@fault("answer-leak", "data.query")
def a_column_with_the_title_of_the_answer(world: World) -> None:
    world.interactions = world.interactions.join(
        world.candidates.select("product", clicked="title"), on="product", maintain_order="left"
    )
    world.add("query", "HashedWords", name="clicked", num_buckets=2048)
    world.data["evaluate"] = "event"


@fault("answer-leak", "data.query", films)
def a_column_that_determines_the_answer(world: World) -> None:
    world.interactions = world.interactions.with_columns(shelf="s" + (pl.col("film").hash() % 100_000).cast(pl.String))
    world.add("query", "Categorical", name="shelf")
    world.data["evaluate"] = "event"


@fault("count-leak", "data.candidate", films)
def a_column_that_counts_all_likes(world: World) -> None:
    counts = world.interactions.group_by("film").len("likes")
    world.candidates = world.candidates.join(counts, on="film", how="left", maintain_order="left").fill_null(0)
    world.add("candidate", "Numeric", name="likes")


# -- time -------------------------------------------------------------------------------------------------------------


@fault("time-backwards", "data.split", films)
def random_rows_of_a_log(world: World) -> None:
    world.data["split"] = {"class_path": "RandomRows", "init_args": {"test": 0.1, "validation": 0.1}}


@fault("later-events", "data.split", films)
def later_events_of_others(world: World) -> None:
    """The last row of each user is tested, and other users go on."""


@fault("time-units", "data.source.init_args.time", films)
def seconds_and_milliseconds(world: World) -> None:
    late = pl.int_range(pl.len()) % 2 == 0
    world.interactions = world.interactions.with_columns(
        time=pl.when(late).then(pl.col("time") * 1000).otherwise(pl.col("time"))
    )


@fault("time-ties", "data.source.init_args.time", films)
def one_time_for_all(world: World) -> None:
    world.interactions = world.interactions.with_columns(time=pl.lit(START))


@fault("time-ties", "data.split", films)
def one_time_for_each_user(world: World) -> None:
    world.interactions = world.interactions.with_columns(time=pl.col("time").first().over("user"))


@fault("time-unused", "data.source.init_args.time", films)
def the_time_is_not_named(world: World) -> None:
    del world.source["time"]
    world.feature("query")["order"] = "leave_one_out"
    world.data["split"] = {"class_path": "PerQuery"}


@fault("history-order", "data.query", films)
def histories_with_later_events(world: World) -> None:
    world.feature("query")["order"] = "leave_one_out"


# -- candidates, texts and histories ----------------------------------------------------------------------------------


@fault("test-only-candidates", "data.candidate", films)
def ids_of_new_candidates(world: World) -> None:
    world.data["split"] = {"class_path": "ColdCandidates", "init_args": {"test": 0.2, "validation": 0.2}}
    del world.data["candidate"][1]


@fault("same-candidates", "data.mask_duplicates")
def the_same_product_under_two_ids(world: World) -> None:
    world.candidates = world.candidates.with_columns(title=pl.col("title").gather(pl.int_range(pl.len()) // 2))


@fault("same-queries", "data.mask_duplicates")
def one_query_for_each_click(world: World) -> None:
    world.interactions = world.interactions.with_columns(
        text=pl.col("query"), query="c" + pl.int_range(pl.len()).cast(pl.String)
    )
    texts = world.queries.rename({"query": "text", "text": "words"})
    world.queries = (
        world.interactions.select("query", "text")
        .join(texts, on="text", maintain_order="left")
        .select("query", text="words")
    )
    world.interactions = world.interactions.select("query", "product")


@fault("many-positives", "model.loss.init_args.repeats")
def a_query_for_everything(world: World) -> None:
    queries = [f"q{number}" for number in range(20)]
    world.queries = world.queries.head(20)
    world.interactions = pl.DataFrame({"query": queries}).join(world.candidates.select("product").head(60), how="cross")


@fault("id-variants", "data.source.init_args.interactions")
def ids_with_a_blank(world: World) -> None:
    world.candidates = pl.concat(
        [world.candidates, world.candidates.tail(3).with_columns(product=pl.col("product") + " ")]
    )


@fault("history-empty", "data.split", films)
def histories_of_new_users(world: World) -> None:
    world.data["split"] = {"class_path": "RandomQueries"}


@fault("history-cut", "data.query", films)
def two_entries_of_a_history(world: World) -> None:
    world.feature("query")["max_length"] = 2


@fault("liked-by-empty", "data.split.class_path", films)
def liked_by_nobody(world: World) -> None:
    world.add("candidate", "LikedBy", name="fans", of="job")
    world.data["split"] = {"class_path": "ColdCandidates", "init_args": {"test": 0.2, "validation": 0.2}}


@fault("lists", "data.evaluate", films)
def lists_of_one_row(world: World) -> None:
    world.interactions = world.interactions.with_columns(liked=(pl.col("stars") > 3).cast(pl.Int64))
    world.source["label"], world.data["evaluate"] = "liked", "listed"
    world.model["loss"] = "BinaryCrossEntropy"
    world.data["split"]["init_args"] = {"test": 2, "validation": 2}
    liked = world.interactions["liked"].to_list()
    world.interactions = world.interactions.with_columns(
        liked=pl.Series([1 if n % 12 else v for n, v in enumerate(liked)])
    )


# -- columns ----------------------------------------------------------------------------------------------------------


@fault("missing-values", "data.candidate")
def an_empty_column(world: World) -> None:
    world.candidates = world.candidates.with_columns(brand=pl.when(pl.int_range(pl.len()) < 4).then("brand"))


@fault("constant-column", "data.candidate")
def one_brand(world: World) -> None:
    world.candidates = world.candidates.with_columns(brand=pl.lit("acme"))


@fault("unknown-values", "data.query")
def ids_of_new_queries(world: World) -> None:
    world.add("query", "Categorical", name="query")


@fault("vocabulary", "data.candidate")
def a_vocabulary_of_the_frequent(world: World) -> None:
    world.candidates = world.candidates.with_columns(
        brand=pl.when(pl.int_range(pl.len()) < 60)
        .then(pl.lit("acme"))
        .otherwise(pl.format("b{}", pl.int_range(pl.len())))
    )
    world.feature("candidate", 1)["min_frequency"] = 50


@fault("text-as-category", "data.candidate")
def titles_as_categories(world: World) -> None:
    world.candidates = world.candidates.with_columns(slogan="buy " + pl.col("title").str.reverse())
    world.add("candidate", "Categorical", name="slogan")


@fault("list-as-category", "data.candidate", films)
def genres_as_one_category(world: World) -> None:
    more = pl.Series(
        ["|".join(sorted({"abcdef"[n % 6], "abcdef"[n // 6 % 6], "abcdef"[n // 36 % 6]})) for n in range(120)]
    )
    world.candidates = world.candidates.with_columns(genres=more)
    world.data["candidate"][1] = {"class_path": "Categorical", "init_args": {"name": "genres"}}


@fault("id-as-number", "data.query", films)
def a_user_id_as_a_number(world: World) -> None:
    for name in ("queries", "interactions"):
        frame = getattr(world, name)
        setattr(world, name, frame.with_columns(user=pl.col("user").str.slice(1).cast(pl.Int64)))
    world.add("query", "Numeric", name="user")


@fault("outliers", "data.candidate")
def a_price_of_a_billion(world: World) -> None:
    world.candidates = world.candidates.with_columns(
        price=pl.when(pl.int_range(pl.len()) == 7).then(1e9).otherwise(pl.col("price"))
    )
    world.candidates = pl.concat(
        [world.candidates]
        + [
            world.candidates.with_columns(
                product=f"x{n} " + pl.col("product"), title=f"x{n} " + pl.col("title"), price=pl.lit(5.0)
            )
            for n in range(3)
        ]
    )
    world.add("candidate", "Numeric", name="price")


@fault("null-words", "data.source.init_args.missing")
def a_brand_named_null(world: World) -> None:
    world.candidates = world.candidates.with_columns(
        brand=pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.lit("NULL")).otherwise(pl.col("brand"))
    )


@fault("encoding", "data.source.init_args.encoding")
def utf8_read_as_latin1(world: World) -> None:
    world.candidates = world.candidates.with_columns(title=pl.col("title") + " café")
    world.source["encoding"] = "latin-1"


# -- pairs, labels and weights ----------------------------------------------------------------------------------------


@fault("repeated-rows", "data.source.init_args.interactions")
def the_file_twice(world: World) -> None:
    world.interactions = pl.concat([world.interactions, world.interactions])


@fault("repeated-pairs", "data.source.init_args.time")
def the_same_pair_on_other_days(world: World) -> None:
    world.interactions = pl.concat([world.interactions, world.interactions.head(100)]).with_columns(
        day=pl.int_range(pl.len())
    )


@fault("contradictions", "data.source.init_args.label")
def liked_and_not_liked(world: World) -> None:
    rows = [
        world.interactions.with_columns(liked=pl.lit(1)),
        world.interactions.head(200).with_columns(liked=pl.lit(0)),
    ]
    world.interactions, world.source["label"] = pl.concat(rows), "liked"


@fault("labels-constant", "data.source.init_args.label")
def every_label_is_one(world: World) -> None:
    world.interactions, world.source["label"] = world.interactions.with_columns(liked=pl.lit(1)), "liked"


@fault("labels-ignored", "model.loss")
def labels_that_the_loss_ignores(world: World) -> None:
    world.interactions = world.interactions.with_columns(liked=pl.int_range(pl.len()) % 3 % 2)
    world.source["label"] = "liked"


@fault("weights", "data.source.init_args.weight")
def one_row_outweighs_all(world: World) -> None:
    world.interactions = world.interactions.with_columns(
        times=pl.when(pl.col("query").is_in(["q1", "q5", "q9"])).then(1_000_000).otherwise(1)
    )
    world.source["weight"] = "times"


# -- pictures ---------------------------------------------------------------------------------------------------------


def with_pictures(world: World, picture: Callable[[int], str | None], **init_args: Any) -> None:
    (world.folder / "pictures").mkdir()
    for number in range(200):
        colour = (number % 16 * 16, number // 16 * 16, 100)
        PIL.Image.new("RGB", (8, 8), colour).save(world.folder / "pictures" / f"{number}.png")
    (world.folder / "pictures" / "broken.png").write_bytes(b"no picture")
    world.candidates = world.candidates.with_columns(photo=pl.Series([picture(number) for number in range(200)]))
    world.add("candidate", "Image", name="photo", size=8, root=str(world.folder / "pictures"), **init_args)


@fault("pictures-unreadable", "data.candidate")
def broken_pictures(world: World) -> None:
    with_pictures(world, lambda n: f"{n}.png" if n % 4 else "broken.png", on_error="skip")


@fault("pictures-same", "data.candidate")
def one_placeholder(world: World) -> None:
    with_pictures(world, lambda n: f"{n}.png" if n % 4 == 0 else "1.png")


@fault("pictures-missing", "data.candidate")
def hardly_any_picture(world: World) -> None:
    with_pictures(world, lambda n: "1.png" if n == 1 else None)


@fault("data-refused", "data.candidate")
def a_broken_picture(world: World) -> None:
    with_pictures(world, lambda n: f"{n}.png" if n else "broken.png")


# -- what fit would refuse --------------------------------------------------------------------------------------------


@fault("data-refused", "data.query")
def a_misspelt_column(world: World) -> None:
    world.feature("query")["column"] = "txet"


@fault("data-refused", "data.evaluate", films)
def a_column_that_varies_by_event(world: World) -> None:
    world.add("query", "Bucketized", name="stars", num_buckets=3)


@fault("data-refused", "data.source.init_args.drop")
def candidates_that_the_table_lacks(world: World) -> None:
    world.candidates = world.candidates.head(190)


@fault("data-refused", "data.source.init_args.positive", films)
def ratings_as_labels(world: World) -> None:
    world.source["label"] = "stars"


@fault("data-refused", "data.query")
def an_empty_text(world: World) -> None:
    world.queries = world.queries.with_columns(text=pl.when(pl.int_range(pl.len()) != 5).then("text"))


@fault("data-refused", "data.source.init_args.time", films)
def a_history_without_a_time(world: World) -> None:
    del world.source["time"]
    world.data["split"] = {"class_path": "PerQuery"}


@fault("data-refused", "data.source.init_args.query_id")
def an_id_that_no_column_has(world: World) -> None:
    world.source["query_id"] = "shopper"


@pytest.mark.parametrize("make", [shop, films])
def test_the_worlds_are_healthy(make: Callable[[Path], World], tmp_path: Path) -> None:
    assert not wrong(findings_of([make(tmp_path).write()], batches=2))


def test_there_are_enough_faults() -> None:
    assert len(FAULTS) >= 50


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    planted = FAULTS[name]
    world = planted.make(tmp_path)
    planted.plant(world)
    findings = findings_of([world.write()], batches=1)
    found = [finding for finding in findings if finding.check == planted.check]
    assert found, [(finding.level, finding.check, finding.found) for finding in findings if finding.change]
    lines = [finding.change for finding in found if finding.change is not None]
    assert any(planted.key in places(line) for line in lines), lines
