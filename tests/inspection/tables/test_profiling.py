"""Foreign tables of many kinds are described as they are, and `Files` reads them with the settings that follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import polars as pl
import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.inspection.profile import DataProfile, TableProfile
from dssm_lightning.inspection.tables import files_settings, loading, profile_files, profile_frames

WORDS = ["red", "blue", "green", "black", "white", "small", "large", "wooden", "metal", "soft"]
THINGS = ["chair", "table", "lamp", "shoe", "hat", "desk"]


def write(path: Path, rows: Sequence[str], encoding: str = "utf-8") -> str:
    path.write_bytes(("\n".join(rows) + "\n").encode(encoding))
    return str(path)


def read(found: DataProfile) -> Tables:
    """Read the tables with the settings that follow from the profile."""
    return Files(**files_settings(found)).tables().resolve([], [])


def kinds(table: TableProfile | None) -> dict[str, str]:
    assert table is not None
    return {name: column.kind for name, column in table.columns.items()}


def mixed(number: int, most: int) -> int:
    """Return a number below ``most`` that has no pattern."""
    return (number * 2654435761 % 2**32 >> 9) % most


def thing(number: int) -> str:
    return f"{WORDS[number % 10]} {THINGS[number % 6]}"


# -- tables of several kinds -------------------------------------------------------------------------------------------


def test_shop_queries_with_judged_products(tmp_path: Path) -> None:
    rows = ["id,product_uid,product_title,search_term,relevance"]
    grades = [1, 1.33, 2, 2.33, 2.67, 3]
    for number in range(240):
        product = mixed(number + 500, 80)
        title = f'{thing(product)} nº {product}, 5"" wide'
        rows.append(f'{number},{1000 + product},"{title}",{thing(number // 3)},{grades[mixed(number, 6)]}')
    products = [f'{1000 + number},"A {thing(number)}, for your home"' for number in range(90)]
    events = write(tmp_path / "train.csv", rows, "latin-1")
    corpus = write(tmp_path / "descriptions.csv", ["product_uid,product_description", *products])
    found = profile_files(events, candidates=corpus)
    assert (found.query_id, found.candidate_id) == ("search_term", "product_uid")
    assert found.interactions.layout.encoding == "latin-1"
    assert kinds(found.interactions)["search_term"] == "text"
    assert kinds(found.candidates) == {"product_uid": "category", "product_description": "text"}
    assert (found.feedback.kind, found.feedback.positive) == ("ratings", "relevance >= 2.33")
    assert found.feedback.share_liked == pytest.approx(0.5, abs=0.05)
    assert (found.num_candidates, found.num_pairs + found.num_negative_pairs <= 240) == (90, True)
    assert found.interactions.columns["product_title"].of == "candidate"
    assert len(read(found).candidates) == 90


def test_films_by_two_colons_in_latin1_without_names(tmp_path: Path) -> None:
    ratings = [
        f"{u}::{f}::{1 + mixed(u * 50 + f, 5)}::{978300000 + u * 50 + f}"
        for u in range(1, 31)
        for f in range(u % 3, 40, 2)
    ]
    films = [f"{number}::Amélie {number} ({1960 + number})::{WORDS[number % 5]}|War" for number in range(40)]
    users = [f"{number}::{'MF'[number % 2]}::{number % 7 * 8 + 1}::0{number:04d}" for number in range(1, 31)]
    found = profile_files(
        write(tmp_path / "ratings.dat", ratings),
        write(tmp_path / "users.dat", users),
        write(tmp_path / "films.dat", films, "latin-1"),
    )
    assert found.interactions.layout.separator == "::"
    assert found.interactions.layout.columns == ("query_id", "candidate_id", "rating", "time")
    assert found.candidates is not None
    assert found.candidates.layout.encoding == "latin-1"
    assert kinds(found.candidates) == {"candidate_id": "category", "title": "text", "categories": "categories"}
    assert found.candidates.columns["categories"].separator == "|"
    assert list(kinds(found.queries).values()) == ["category", "category", "number", "category"]
    assert (found.time, found.feedback.kind) == ("time", "ratings")
    assert 0.25 <= found.feedback.share_liked <= 0.7
    settings = files_settings(found)
    assert (settings["separator"], settings["encoding"]) == ("::", {"candidates": "latin-1"})
    tables = read(found)
    assert tables.candidates["title"][3] == "Amélie 3 (1963)"
    assert len(tables.interactions) == len(ratings)


def test_ratings_with_times_and_a_key_of_two_names(tmp_path: Path) -> None:
    rows = [
        f"{u},{f},{mixed(u * 60 + f, 10) / 2 + 0.5},{1260759144 + 60 * u + f}"
        for u in range(1, 21)
        for f in range(u % 4, 60, 3)
    ]
    films = [f'{number},"Film, the {number}",Comedy|{WORDS[number % 5]}' for number in range(60)]
    found = profile_files(
        write(tmp_path / "ratings.csv", ["userId,movieId,rating,timestamp", *rows]),
        candidates=write(tmp_path / "films.csv", ["id,title,genres", *films]),
    )
    assert (found.query_id, found.candidate_id, found.time) == ("userId", "movieId", "timestamp")
    assert found.rename == {"candidates.id": "movieId"}
    assert kinds(found.candidates) == {"movieId": "category", "title": "text", "genres": "categories"}
    assert found.interactions.columns["timestamp"].least == 1260759205
    assert read(found).candidates.columns == ["movieId", "title", "genres"]


def test_questions_with_answers_in_json_lines(tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {
                "question": f"where do I buy the {thing(n)} number {n}",
                "positive": f"you buy the {thing(n)} number {n} in our shop",
                "negatives": [f"no {thing(n + 1)} here {n}"],
            }
        )
        for n in range(50)
    ]
    found = profile_files(write(tmp_path / "pairs.jsonl", lines))
    assert (found.query_id, found.candidate_id) == ("query", "doc")
    assert found.rename == {"question": "query", "positive": "positive_doc", "negatives": "negative_docs"}
    assert kinds(found.interactions) == {"query": "text", "doc": "text", "negative_docs": "categories"}
    assert (found.num_queries, found.num_candidates, found.num_pairs) == (50, 100, 50)
    assert found.share_shared_texts == 1.0
    assert len(read(found).candidates) == 100


@pytest.mark.parametrize("header", [True, False])
def test_pairs_of_texts_are_their_own_ids(tmp_path: Path, header: bool) -> None:
    rows = [f"{thing(n)}\tThe {thing(n)} of our {n}th collection" for n in range(60)]
    found = profile_files(write(tmp_path / "pairs.tsv", ["search\tproduct title", *rows] if header else rows))
    expected = ("search", "product title") if header else ("query", "candidate")
    assert (found.query_id, found.candidate_id) == expected
    assert found.num_queries == len({row.partition("\t")[0] for row in rows})
    assert set(kinds(found.interactions).values()) == {"text"}
    assert len(read(found).candidates) == 60


def test_judgements_of_trec(tmp_path: Path) -> None:
    judged = [f"q{q} 0 d{(q * 7 + n) % 60} {(q + n) % 4}" for q in range(40) for n in range(6)]
    topics = [f"q{q}\twhat is a {thing(q)}" for q in range(40)]
    docs = [
        json.dumps({"docno": f"d{n}", "title": f"The {thing(n)}", "body": f"Much about it {n}."}) for n in range(60)
    ]
    found = profile_files(
        write(tmp_path / "qrels.txt", judged),
        write(tmp_path / "topics.tsv", topics),
        write(tmp_path / "docs.jsonl", docs),
    )
    assert (found.feedback.kind, found.feedback.column, found.feedback.positive) == (
        "grades",
        "relevance",
        "relevance >= 1",
    )
    assert kinds(found.interactions)["iteration"] == "constant"
    assert found.rename == {"candidates.docno": "candidate_id"}
    settings = files_settings(found)
    assert settings["grade"] == "relevance"
    assert settings["separator"] == {"interactions": " "}
    assert settings["columns"]["queries"] == ["query_id", "text"]
    assert len(read(found).interactions) == 240


def test_events_with_names_and_untidy_candidates(tmp_path: Path) -> None:
    names = ["view"] * 6 + ["addtocart", "transaction"]
    rows = [
        f"{1433221332117 + n * 1000},{mixed(n, 30)},{names[mixed(n + 700, 8)]},{mixed(n + 1400, 50)}"
        for n in range(600)
    ]
    items = [f"{n};{n * 1.5};{WORDS[n % 10]};{1 + n % 28:02d}.01.2020 10:00" for n in range(48)]
    found = profile_files(
        write(tmp_path / "events.csv", ["timestamp,visitorid,event,itemid", *rows]),
        candidates=write(tmp_path / "items.csv", ["itemid;price;colour;added", *items, items[3]]),
    )
    assert (found.query_id, found.candidate_id, found.time) == ("visitorid", "itemid", "timestamp")
    assert (found.feedback.kind, found.feedback.positive) == ("events", "event != view")
    assert found.candidates is not None
    assert found.candidates.layout.separator == ";"
    assert found.candidates.columns["added"].time_format == "%d.%m.%Y %H:%M"
    assert found.drop == ["repeated", "unknown"]
    assert any("48" in note and "does not have" in note for note in found.notes)
    tables = read(found)
    assert len(tables.candidates) == 48 == found.num_candidates
    assert len(tables.interactions) < 600


def test_parquet_with_lists_and_vectors(tmp_path: Path) -> None:
    times = [1_600_000_000_000 + 3_600_000 * n for n in range(200)]
    plays = pl.DataFrame(
        {"user": [n % 20 for n in range(200)], "track": [f"t{n * 7 % 40}" for n in range(200)], "when": times}
    )
    tracks = pl.DataFrame(
        {
            "track_uri": [f"t{n}" for n in range(40)],
            "tags": [["rock", "pop"][: 1 + n % 2] for n in range(40)],
            "embedding": [[0.1 * n, 0.2, 0.3] for n in range(40)],
            "released": pl.date_range(pl.date(2000, 1, 1), pl.date(2000, 2, 9), eager=True),
        }
    )
    plays.write_parquet(tmp_path / "plays.parquet")
    tracks.write_parquet(tmp_path / "tracks.parquet")
    found = profile_files(str(tmp_path / "plays.parquet"), candidates=str(tmp_path / "tracks.parquet"))
    expected = {"track": "category", "tags": "categories", "embedding": "vector", "released": "time"}
    assert kinds(found.candidates) == expected
    assert kinds(found.interactions) == {"user": "category", "track": "category", "when": "time"}
    assert (found.time, found.feedback.kind, found.num_pairs) == ("when", "likes", 40)
    assert any("160" in note and "repeat" in note for note in found.notes)
    assert read(found).keys.time == "when"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(30):
        PIL.Image.new("RGB", (6, 6), (number * 8, 0, 0)).save(folder / f"{thing(number).replace(' ', '_')}.png")
    return folder


@pytest.mark.parametrize("as_candidates", [True, False])
def test_a_folder_of_pictures_found_by_their_names(pictures: Path, as_candidates: bool) -> None:
    found = profile_files(None, candidates=str(pictures)) if as_candidates else profile_files(str(pictures))
    assert (found.query_id, found.candidate_id) == ("name", "file_name")
    assert kinds(found.interactions) == {"picture": "picture", "file_name": "category", "name": "text"}
    column = found.interactions.columns["picture"]
    assert (column.of, column.root, column.unreadable) == ("candidate", str(pictures), 0)
    assert read(found).queries["name"][0] == "black desk"


@pytest.mark.parametrize("ending", ["", ".png"])
def test_pictures_that_a_table_names(tmp_path: Path, pictures: Path, ending: str) -> None:
    rows = [f"a {thing(n)} for me,{thing(n).replace(' ', '_')}{ending}" for n in range(20)]
    found = profile_files(write(tmp_path / "clicks.csv", ["query,clicked", *rows]), candidates=str(pictures))
    assert (found.query_id, found.candidate_id, found.num_candidates) == ("query", "clicked", 30)
    assert found.rename == {"candidates.picture" if ending else "candidates.stem": "clicked"}
    assert "picture" in kinds(found.candidates).values()
    assert len(read(found).candidates) == 30


def test_a_table_of_names_and_files(tmp_path: Path, pictures: Path) -> None:
    rows = [f"X-{n},a {thing(n)} for me,pictures/{thing(n).replace(' ', '_')}.png" for n in range(20)]
    found = profile_files(write(tmp_path / "names.csv", ["unified,name,file", *rows]))
    assert (found.query_id, found.candidate_id) == ("name", "file")
    assert found.interactions.columns["file"].root == str(tmp_path)


def test_sentences_of_documents_with_labels(tmp_path: Path) -> None:
    rows = [
        f"Q{q}\thow is a {thing(q)} made?\tD{q}\t{THINGS[q % 6]}\tD{q}-{s}\tSentence {s} on {thing(q)}.\t"
        f"{int(s == q % 5)}"
        for q in range(60)
        for s in range(5)
    ]
    header = "QuestionID\tQuestion\tDocumentID\tDocumentTitle\tSentenceID\tSentence\tLabel"
    found = profile_files(write(tmp_path / "answers.tsv", [header, *rows]))
    assert (found.query_id, found.candidate_id) == ("QuestionID", "SentenceID")
    assert (found.feedback.kind, found.feedback.column, found.feedback.positive) == ("labels", "Label", None)
    assert found.feedback.share_liked == pytest.approx(0.2)
    assert (found.num_pairs, found.num_negative_pairs) == (60, 240)
    of = {name: column.of for name, column in found.interactions.columns.items()}
    assert (of["Question"], of["Sentence"], of["DocumentTitle"]) == ("query", "candidate", "candidate")
    assert read(found).keys.label == "Label"


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pandas", [False, True])
def test_frames(pandas: bool) -> None:
    users = [number % 9 for number in range(90)]
    likes: Any = pl.DataFrame(
        {"customer": users, "sku": [f"s{mixed(n, 30)}" for n in range(90)], "bought": [n % 2 for n in range(90)]}
    )
    shop: Any = pl.DataFrame({"sku": [f"s{n}" for n in range(30)], "name": [f"The {thing(n)} {n}" for n in range(30)]})
    if pandas:
        likes, shop = likes.to_pandas(), shop.to_pandas()
    found = profile_frames(likes, candidates=shop)
    assert (found.query_id, found.candidate_id, found.interactions.path) == ("customer", "sku", None)
    assert (found.feedback.kind, found.feedback.column) == ("labels", "bought")
    assert kinds(found.candidates) == {"sku": "category", "name": "text"}


# -- details -----------------------------------------------------------------------------------------------------------


def likes(*columns: str, rows: int = 120, **values: Any) -> list[str]:
    lines = [",".join(["user", "item", *columns])]
    for n in range(rows):
        lines.append(",".join([f"u{n % 11}", f"i{mixed(n + 1000, 40)}", *(str(values[name](n)) for name in columns)]))
    return lines


@pytest.mark.parametrize(
    ("column", "value", "kind", "positive"),
    [
        ("stars", lambda n: mixed(n, 5) + 1, "ratings", "stars >= 3"),
        ("rating", lambda n: n % 21 - 10, "ratings", "rating >= 0"),
        ("score", lambda n: n % 10 * 10, "ratings", "score >= 50"),
        ("rating", lambda n: 5 if n % 10 else 1, "ratings", "rating >= 5"),
        ("label", lambda n: "yes" if n % 3 else "no", "labels", "label != no"),
        ("label", lambda n: n % 2 * 2 - 1, "labels", "label >= 1"),
        ("clicked", lambda n: ["true", "False"][n % 2], "labels", None),
        ("rel", lambda n: n % 3 + 1, "grades", None),
        ("esci_label", lambda n: "EESI"[n % 4], "events", "esci_label != I"),
        ("behavior", lambda n: ["pv", "buy"][n % 3 == 0], "events", "behavior != pv"),
        ("price", lambda n: n % 5 + 1, "likes", None),
    ],
)
def test_what_counts_as_liked(tmp_path: Path, column: str, value: Any, kind: str, positive: str | None) -> None:
    found = profile_files(write(tmp_path / "likes.csv", likes(column, **{column: value})))
    assert (found.feedback.kind, found.feedback.positive) == (kind, positive)
    assert found.feedback.note
    read(found)


def test_a_rating_of_one_value_says_nothing(tmp_path: Path) -> None:
    found = profile_files(write(tmp_path / "likes.csv", likes("stars", stars=lambda n: 5 if n % 3 else "")))
    assert (found.feedback.kind, found.feedback.positive) == ("likes", None)
    assert "stars is 5" in found.feedback.note


@pytest.mark.parametrize("column", ["user", "stars"])
def test_a_number_that_is_none_is_a_missing_value(tmp_path: Path, column: str) -> None:
    rows = [{"user": float(n % 7), "item": f"i{n % 11}", "stars": 1.0 + n * n % 5} for n in range(120)]
    nothing = pl.when(pl.int_range(pl.len()) % 4 == 0).then(float("nan")).otherwise(pl.col(column))
    pl.DataFrame(rows).with_columns(nothing.alias(column)).write_parquet(tmp_path / "likes.parquet")
    found = profile_files(str(tmp_path / "likes.parquet"))
    assert found.num_queries == 7
    tables = Files(**files_settings(found)).tables().resolve([], [])
    assert len(tables.interactions) == 90


def test_a_rating_that_describes_the_item_is_no_feedback(tmp_path: Path) -> None:
    lines = likes("average_rating", "stars", average_rating=lambda n: n % 5, stars=lambda n: mixed(n + 1000, 40) % 5)
    found = profile_files(write(tmp_path / "likes.csv", lines))
    assert found.feedback.kind == "likes"


def test_strong_events_that_are_too_few_leave_all_events_liked(tmp_path: Path) -> None:
    lines = likes("event", rows=500, event=lambda n: "buy" if n == 3 else "view")
    found = profile_files(write(tmp_path / "likes.csv", lines))
    assert (found.feedback.positive, found.feedback.share_liked) == (None, 1.0)
    assert "buy" in found.feedback.note


def test_folds_weights_and_texts_for_missing_values(tmp_path: Path) -> None:
    lines = likes(
        *("split", "weight", "age"),
        split=lambda n: ["train", "train", "test"][n % 3],
        weight=lambda n: n % 4 + 0.5,
        age=lambda n: "NA" if n % 11 == 3 else 20 + n % 11,
    )
    found = profile_files(write(tmp_path / "likes.csv", lines))
    assert (found.published_fold, found.weight, found.missing) == ("split", "weight", ["NA"])
    assert (found.interactions.columns["age"].kind, found.interactions.columns["age"].of) == ("number", "query")
    assert read(found).interactions["age"].null_count() == found.interactions.columns["age"].missing > 0


def test_folds_of_other_names_are_noted(tmp_path: Path) -> None:
    found = profile_files(write(tmp_path / "l.csv", likes("fold", fold=lambda n: ["train", "dev", "test"][n % 3])))
    assert found.published_fold is None
    assert any("dev" in note for note in found.notes)


def test_rows_without_an_id_are_left_out(tmp_path: Path) -> None:
    found = profile_files(write(tmp_path / "likes.csv", [*likes(), "u1,", ",i3"]))
    assert found.drop == ["missing"]
    assert any("2 of 122" in note for note in found.notes)
    assert len(read(found).interactions) == 120


@pytest.mark.parametrize(
    ("is_timed", "time", "drop"), [(lambda n: n % 10 != 0, "at", ["missing"]), (lambda n: n % 3 == 0, None, [])]
)
def test_events_without_a_time_are_left_out_if_they_are_few(
    tmp_path: Path, is_timed: Callable[[int], bool], time: str | None, drop: list[str]
) -> None:
    lines = likes("at", at=lambda n: 1_600_000_000 + n * n if is_timed(n) else "")
    found = profile_files(write(tmp_path / "likes.csv", lines))
    assert (found.time, found.drop) == (time, drop)
    assert time is not None or any("at is missing in 67%" in note for note in found.notes)


def test_times_later_than_today_and_times_of_items_are_noted(tmp_path: Path) -> None:
    lines = likes(
        "release", "time", release=lambda n: f"20{mixed(n + 1000, 40):02d}-01-01", time=lambda n: 4_000_000_000 + n
    )
    found = profile_files(write(tmp_path / "likes.csv", lines))
    assert found.time == "time"
    assert any("120 of 120" in note and "later" in note for note in found.notes)
    assert any("release" in note and "item" in note for note in found.notes)


def test_ids_of_two_types_get_one(tmp_path: Path) -> None:
    events = write(tmp_path / "e.jsonl", [json.dumps({"user": n % 9, "item": str(n * 7 % 40)}) for n in range(90)])
    pl.DataFrame({"item": range(40), "title": [f"The {thing(n)}" for n in range(40)]}).write_parquet(
        tmp_path / "i.parquet"
    )
    found = profile_files(events, candidates=str(tmp_path / "i.parquet"))
    assert found.dtypes == {"item": "text"}
    assert len(read(found).candidates) == 40


def test_a_column_of_queries_and_interactions_is_renamed(tmp_path: Path) -> None:
    users = ["user,city", *(f"u{n},{WORDS[n % 4]}" for n in range(11))]
    lines = likes("city", city=lambda n: WORDS[n % 7])
    found = profile_files(write(tmp_path / "likes.csv", lines), write(tmp_path / "users.csv", users))
    assert found.rename == {"interactions.city": "event_city"}
    assert kinds(found.interactions)["event_city"] == "category"
    read(found)


def test_lists_and_vectors_written_as_text_are_read_as_such(tmp_path: Path) -> None:
    items = ["item\ttags\tvector", *(f"i{n}\t['a', 'b{n % 3}']\t[{n}.5, 0.5]" for n in range(40))]
    found = profile_files(write(tmp_path / "likes.csv", likes()), candidates=write(tmp_path / "items.tsv", items))
    assert found.dtypes == {"tags": "list", "vector": "vector"}
    assert found.candidates is not None
    assert found.candidates.columns["vector"].longest == 2
    row = read(found).candidates.row(1, named=True)
    assert (row["tags"], row["vector"]) == (["a", "b1"], [1.5, 0.5])


def test_a_folder_of_text_files_is_a_glob(tmp_path: Path) -> None:
    lines = likes()
    (tmp_path / "parts").mkdir()
    for number in range(2):
        write(tmp_path / "parts" / f"{number}.csv", [lines[0], *lines[1 + number * 60 : 61 + number * 60]])
    found = profile_files(str(tmp_path / "parts"))
    assert found.interactions.path == str(tmp_path / "parts" / "*.csv")
    assert found.interactions.rows == 120
    assert len(read(found).interactions) == 120


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1251"])
def test_other_encodings_round_trip(tmp_path: Path, encoding: str) -> None:
    items = ["item;название", *(f"i{n};Красное платье номер {n}" for n in range(40))]
    path = write(tmp_path / "items.csv", items, encoding)
    found = profile_files(write(tmp_path / "likes.csv", likes()), candidates=path)
    assert found.candidates is not None
    assert found.candidates.columns["название"].language == "Cyrillic"
    assert read(found).candidates["название"][1] == "Красное платье номер 1"


def test_what_the_user_names_is_taken(tmp_path: Path) -> None:
    lines = likes("other", "rating", "day", other=lambda n: f"o{n % 5}", rating=lambda n: mixed(n, 5), day=lambda n: n)
    path = write(tmp_path / "likes.csv", lines)
    found = profile_files(path, query_id="other", time="day", positive="rating >= 4")
    assert (found.query_id, found.candidate_id, found.time) == ("other", "item", "day")
    assert (found.feedback.positive, found.feedback.share_liked) == ("rating >= 4", pytest.approx(0.2, abs=0.1))
    assert profile_files(path, candidate_id="other").candidate_id == "other"
    assert profile_files(path, label="rating").feedback.positive == "rating >= 2"


# -- habits of published tables ----------------------------------------------------------------------------------------


def test_reviews_in_json_with_seconds(tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {
                "reviewerID": f"A{mixed(n, 30)}",
                "asin": f"B{mixed(n + 900, 50):04d}",
                "overall": float(mixed(n + 1800, 5) + 1),
                "reviewText": f"the {thing(n)} is good, number {n}",
                "unixReviewTime": 1_300_000_000 + n,
                "reviewTime": "09 13, 2009",
            }
        )
        for n in range(300)
    ]
    found = profile_files(write(tmp_path / "reviews.json", lines))
    assert (found.query_id, found.candidate_id, found.time) == ("reviewerID", "asin", "unixReviewTime")
    assert (found.feedback.kind, found.feedback.column) == ("ratings", "overall")
    read(found)


def test_quoted_fields_between_semicolons_and_names_with_hyphens(tmp_path: Path) -> None:
    rows = [f'"{mixed(n, 30)}";"0{10000 + mixed(n + 900, 50)}";"{mixed(n, 11)}"' for n in range(300)]
    books = [f'"0{10000 + n}";"Título {n}; und mehr";"{1990 + n % 20}";"http://x.example/{n}.jpg"' for n in range(50)]
    found = profile_files(
        write(tmp_path / "ratings.csv", ['"User-ID";"ISBN";"Book-Rating"', *rows]),
        candidates=write(tmp_path / "books.csv", ['"ISBN";"Book-Title";"Year";"Image-URL"', *books], "latin-1"),
    )
    assert (found.query_id, found.candidate_id) == ("User-ID", "ISBN")
    assert found.feedback.positive == "Book-Rating >= 5"
    assert kinds(found.candidates) == {
        "ISBN": "category",
        "Book-Title": "text",
        "Year": "number",
        "Image-URL": "category",
    }
    assert read(found).candidates["Book-Title"][7] == "Título 7; und mehr"


def test_of_two_possible_ids_the_one_that_is_known_is_taken(tmp_path: Path) -> None:
    rows = [f"{1 + mixed(n, 30)},{1 + mixed(n + 900, 50)},{mixed(n, 5) + 1}" for n in range(300)]
    books = [f"{n},{n * 37 + 5},The {thing(n)} book {n}" for n in range(1, 51)]
    found = profile_files(
        write(tmp_path / "ratings.csv", ["user_id,book_id,rating", *rows]),
        candidates=write(tmp_path / "books.csv", ["id,book_id,title", *books]),
    )
    assert found.rename == {"candidates.book_id": "book_id_2", "candidates.id": "book_id"}
    assert len(read(found).interactions) == 300


def test_a_title_is_the_candidate_where_the_events_have_names(tmp_path: Path) -> None:
    rows = [
        f'{mixed(n, 30)},"The {thing(mixed(n, 70))}",{"purchase" if n % 2 else "play"},{n / 7:.1f},0'
        for n in range(300)
    ]
    found = profile_files(write(tmp_path / "games.csv", rows))
    assert (found.query_id, found.candidate_id) == ("query_id", "candidate")
    assert kinds(found.interactions)["event"] == "category"


def test_an_id_that_is_mostly_missing_gives_way(tmp_path: Path) -> None:
    rows = [f"{mixed(n, 40)};NA;{mixed(n + 900, 50)};2016-05-{1 + n % 28:02d}" for n in range(300)]
    found = profile_files(write(tmp_path / "views.csv", ["sessionId;userId;itemId;eventdate", *rows]))
    assert (found.query_id, found.candidate_id, found.time) == ("sessionId", "itemId", "eventdate")
    assert kinds(found.interactions)["userId"] == "empty"


def test_counts_are_no_weights(tmp_path: Path) -> None:
    lines = likes("weight", weight=lambda n: 10 + n * n)
    found = profile_files(write(tmp_path / "plays.csv", lines))
    assert found.weight is None
    assert any("weight goes up to" in note for note in found.notes)


# -- samples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_ids_are_counted_beyond_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    rows = [f"{n // 3},{mixed(n, 50)},{mixed(n + 77, 5) + 1},{1_600_000_000 + n}" for n in range(600)]
    films = [f"{n},The {thing(n)} film {n}" for n in range(50)]
    header = ["userId,movieId,rating,timestamp"] if named else []
    events = write(tmp_path / "ratings.csv", [*header, *rows])
    corpus = write(tmp_path / "films.csv", ["id,title", *films])
    whole = profile_files(events, candidates=corpus)
    monkeypatch.setattr(loading, "ROWS", 100)
    found = profile_files(events, candidates=corpus)
    assert (found.num_queries, found.num_pairs) == (whole.num_queries, whole.num_pairs)
    assert found.num_queries > 100
    assert (found.interactions.rows, found.feedback.kind) == (600, "ratings")
    assert any("first 100 of 600" in note for note in found.interactions.notes)


def test_texts_are_counted_in_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"anchor": f"the {thing(n)} {n}", "positive": f"a {thing(n)} of {n}"}) for n in range(300)]
    monkeypatch.setattr(loading, "ROWS", 100)
    found = profile_files(write(tmp_path / "pairs.jsonl", lines))
    assert (found.query_id, found.num_pairs) == ("query", 100)
    assert any("100 of 300" in note for note in found.interactions.notes)


@pytest.mark.parametrize(
    ("name", "kind"), [("right", "labels"), ("xyz", "labels"), ("is_mobile", "likes"), ("new_user", "likes")]
)
def test_a_column_of_ones_and_zeros(tmp_path: Path, name: str, kind: str) -> None:
    rows = [f"q{n // 6},a{n % 20},{int(n % 6 == n // 6 % 5)}" for n in range(240)]
    path = write(tmp_path / "judged.csv", [f"question,answer_id,{name}", *rows])
    found = profile_files(path).feedback
    assert (found.kind, found.column) == (kind, name if kind == "labels" else None)
    if kind == "labels":
        assert found.share_liked == pytest.approx(1 / 6)
        assert ("guess" in found.note) == (name == "xyz")


def test_another_column_of_labels_is_named_as_an_objective() -> None:
    log = pl.DataFrame({"user": [1, 1, 2, 2] * 9, "item": list(range(6)) * 6, "clicked": [1, 0, 1, 1] * 9})
    both = log.with_columns(bought=pl.Series([1, 0, 0, 0] * 9))
    plain, several = (profile_frames(each).feedback for each in (log, both))
    assert (several.column, several.positive) == (plain.column, plain.positive)
    assert "objectives" not in plain.note
    assert "bought could be learned as well: `data.objectives`" in several.note
