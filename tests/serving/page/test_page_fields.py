"""The page in a real browser: fields of each kind, what the query became, pictures, foreign and hostile texts."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.chromium import FOUR_PICTURES, OpenTab, Tab, ids_of
from helpers.page_bundles import ARABIC, HOSTILE, HOSTILE_COLUMN, HOSTILE_ID, LONG
from PIL import Image

from dssm_lightning.retrieval.retriever import Retriever

pytest_plugins = ["helpers.page_fixtures"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.flaky(reruns=1)]  # a busy machine stops a browser for seconds
FILM: dict[str, Any] = {"words": "film", "mood": "happy", "age": 30}
VIEW = "#bundle=films&q.words=film&q.mood=happy&q.age=30&k=12"


def field(found: Tab, column: str) -> Any:
    return found.page.locator(
        ".field", has=found.page.locator("label").filter(has_text=re.compile(f"^{column}( needed)?$"))
    )


def value(found: Tab, column: str) -> Any:
    return field(found, column).locator("input")


def chosen(found: Tab, column: str) -> list[str]:
    return [each.inner_text() for each in field(found, column).locator(".chosen li > span").all()]


# -- plain fields ------------------------------------------------------------------------------------------------------


def test_a_form_has_a_field_for_each_column(tab: OpenTab, films: Retriever) -> None:
    found = tab("#bundle=films")
    assert found.page.get_by_text("Say what you look for").is_visible()
    value(found, "words").fill("film")
    found.page.get_by_text("Also needed: mood, age").wait_for()
    value(found, "mood").fill("happy")
    value(found, "age").fill("30")
    found.wait_for_hits(ids_of(films.search(FILM, 20)))
    value(found, "city").fill("Rome")
    found.wait_for_hits(ids_of(films.search(FILM | {"city": "Rome"}, 20)))
    options = found.page.locator("datalist option").all()
    assert [each.get_attribute("value") for each in options] == ["Bonn", "Rome"]
    assert found.is_quiet()


def test_a_value_that_a_feature_refuses(tab: OpenTab) -> None:
    found = tab(VIEW)
    value(found, "age").fill("old")
    found.page.locator(".alert:not(:empty)").wait_for()
    assert "'old'" in found.page.locator(".alert:not(:empty)").inner_text()
    assert found.hits() == []


def test_a_list_of_values(tab: OpenTab, films: Retriever) -> None:
    found = tab(VIEW)
    box = found.page.get_by_label("likes", exact=True)
    box.press_sequentially("re")
    field(found, "likes").get_by_role("option", name="red").click()
    found.wait_for_hits(ids_of(films.search(FILM | {"likes": ["red"]}, 12)))
    box.fill("never seen")
    field(found, "likes").get_by_role("button", name="Add to likes").click()
    found.wait_for_hits(ids_of(films.search(FILM | {"likes": ["red", "never seen"]}, 12)))
    assert chosen(found, "likes") == ["red", "never seen"]
    field(found, "likes").get_by_role("button", name="Remove red").click()
    found.wait_for_hits(ids_of(films.search(FILM | {"likes": ["never seen"]}, 12)))
    assert found.is_quiet()


# -- the history -------------------------------------------------------------------------------------------------------


def test_a_history_is_picked_by_name(tab: OpenTab, films: Retriever) -> None:
    found = tab(VIEW)
    box = found.page.get_by_role("combobox", name="seen")
    picked = []
    for name in ("film 3 sea", "film 5 sea"):
        box.press_sequentially(name, delay=5)
        field(found, "seen").get_by_role("option").first.wait_for()
        box.press("Enter")
        picked.append(next(str(n) for n in titles(films) if titles(films)[n] == f"Film {name.split()[1]} of the sea"))
    found.wait_for_hits(ids_of(films.search(FILM | {"seen": picked}, 12, exclude_history=True)))
    assert chosen(found, "seen") == ["Film 3 of the sea", "Film 5 of the sea"]
    posters = field(found, "seen").locator(".chosen img")
    assert posters.count() == 2
    assert posters.first.evaluate("image => image.complete && image.naturalWidth > 0")
    found.page.get_by_label("Leave out what is picked").uncheck()
    found.wait_for_hits(ids_of(films.search(FILM | {"seen": picked}, 12)))
    assert found.is_quiet()


def titles(films: Retriever) -> dict[str, str]:
    return dict(zip(films.corpus.rows.column("film"), films.corpus.rows.column("title"), strict=True))


def test_a_history_is_reordered_and_shortened(tab: OpenTab, films: Retriever) -> None:
    first, second = (next(n for n, title in titles(films).items() if title == f"Film {k} of the sea") for k in (3, 5))
    found = tab(f'{VIEW}&qj.seen=["{first}","{second}"]')
    found.wait_for_hits(ids_of(films.search(FILM | {"seen": [first, second]}, 12, exclude_history=True)))
    field(found, "seen").get_by_text("Film 3 of the sea").wait_for()  # a link has the ids alone
    field(found, "seen").get_by_role("button", name="Move down Film 3 of the sea").click()
    found.wait_for_hits(ids_of(films.search(FILM | {"seen": [second, first]}, 12, exclude_history=True)))
    assert chosen(found, "seen") == ["Film 5 of the sea", "Film 3 of the sea"]
    found.page.keyboard.press("Delete")  # the moved one has the focus
    found.wait_for_hits(ids_of(films.search(FILM | {"seen": [second]}, 12, exclude_history=True)))
    found.page.go_back()
    found.wait_for_hits(ids_of(films.search(FILM | {"seen": [second, first]}, 12, exclude_history=True)))
    assert chosen(found, "seen") == ["Film 5 of the sea", "Film 3 of the sea"]
    assert found.is_quiet()


def test_nobody_has_the_name(tab: OpenTab) -> None:
    found = tab(VIEW)
    found.page.get_by_role("combobox", name="seen").fill("zebra")
    found.page.get_by_text("No candidate has “zebra”.").wait_for()
    assert field(found, "seen").get_by_role("option").count() == 0
    assert found.is_quiet()


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_candidates_have_their_pictures(tab: OpenTab) -> None:
    found = tab(VIEW)
    found.page.wait_for_function(FOUR_PICTURES)
    assert found.page.locator(".hit img").count() == 12
    found.page.route("**/pictures/**", lambda route: route.abort())
    broken = tab(VIEW)
    assert broken.page.locator(".hit").count() == 12


def test_a_picture_of_this_device(tab: OpenTab, films: Retriever, tmp_path: Path) -> None:
    found, path = tab(VIEW), tmp_path / "sea.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    found.page.get_by_label("photo").set_input_files(path)
    found.wait_for_hits(ids_of(films.search(FILM | {"photo": path.read_bytes()}, 12)))
    assert field(found, "photo").locator("img").is_visible()
    assert "sea.png" in field(found, "photo").inner_text()
    assert "base64" not in found.page.url
    field(found, "photo").get_by_role("button", name="Remove picture").click()
    found.wait_for_hits(ids_of(films.search(FILM, 12)))
    found.page.go_back()
    found.wait_for_hits(ids_of(films.search(FILM | {"photo": path.read_bytes()}, 12)))
    assert found.is_quiet()
    found.page.reload()
    found.page.get_by_text("of this link is not on this device: choose it.").wait_for()


def test_a_large_picture_is_scaled_and_that_is_told(tab: OpenTab, tmp_path: Path) -> None:
    found, path = tab(VIEW), tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (700, 1000, 3), np.uint8)
    Image.fromarray(noise).save(path)
    assert path.stat().st_size > 1 << 20
    before = len(found.asked)
    found.page.get_by_label("photo").set_input_files(path)
    found.page.get_by_text("noise.png, scaled to 640 × 448: the server takes 1024 KiB").wait_for()
    found.page.wait_for_function("() => document.querySelector('.summary:not(:empty)')")
    assert len(found.asked) > before
    assert found.is_quiet()


def test_a_file_that_is_no_picture(tab: OpenTab, tmp_path: Path) -> None:
    found, path = tab(VIEW), tmp_path / "text.png"
    path.write_text("no picture")
    found.page.get_by_label("photo").set_input_files(path)
    found.page.locator(".alert:not(:empty)").wait_for()
    assert "photo" in found.page.locator(".alert:not(:empty)").inner_text()
    large = tmp_path / "large.png"
    large.write_bytes(b"x" * (2 << 20))
    found.page.get_by_label("photo").set_input_files(large)
    found.page.get_by_text("large.png cannot be used").wait_for()


# -- what the query became ---------------------------------------------------------------------------------------------


def test_what_the_query_became(tab: OpenTab) -> None:
    found = tab("#bundle=films&q.words=film&q.mood=happy+weird+blue+red+sad&q.city=Paris&q.age=30")
    told = found.page.locator("details.reading summary").first
    assert "does not know “weird”, “Paris”" in told.inner_text()
    assert "Only 3 of 5 words of “mood” were read." in told.inner_text()
    told.click()
    parts = found.page.locator("details.reading section", has_text="mood").locator(".part")
    parts.last.wait_for()  # a busy browser opens the details a moment after the click
    assert [each.inner_text().split()[0] for each in parts.all()] == ["happy", "weird", "blue"]
    assert [each.get_attribute("class") for each in parts.all()] == ["part known", "part unknown", "part known"]
    hashed = found.page.locator("details.reading section", has_text="HashedWords").locator(".part")
    assert hashed.get_attribute("class") == "part"
    assert found.is_quiet()


def test_a_query_of_which_all_is_known(tab: OpenTab) -> None:
    found = tab(VIEW)
    assert found.page.locator("details.reading summary").first.inner_text() == "What the query became."
    assert found.page.locator(".warns").count() == 0


# -- hostile and foreign texts -----------------------------------------------------------------------------------------


def test_nothing_of_a_candidate_is_run(tab: OpenTab, films: Retriever) -> None:
    found = tab(VIEW.replace("k=12", "k=20"))
    found.page.get_by_text(HOSTILE, exact=True).first.wait_for()
    assert found.page.get_by_text(HOSTILE_ID, exact=False).count() > 0
    assert HOSTILE_COLUMN in " ".join(each.inner_text() for each in found.page.locator("dt, legend").all())
    card = found.page.locator(".hit", has_text=HOSTILE)
    card.click()
    found.page.get_by_role("heading", name=f"Similar to {HOSTILE}").wait_for()
    found.wait_for_hits(ids_of(films.similar(HOSTILE_ID, 19)))
    found.page.get_by_text("← Back").click()
    box = found.page.get_by_role("combobox", name="seen")
    box.fill("img src")
    box.press_sequentially("=")
    field(found, "seen").get_by_role("option").first.wait_for()
    box.press("Enter")
    field(found, "seen").locator(".chosen li").wait_for()
    assert chosen(found, "seen") == [HOSTILE]
    value(found, "city").fill(HOSTILE)
    found.page.get_by_text(f"does not know “{HOSTILE}”").wait_for()
    assert found.page.evaluate("window.hurt") is None
    assert found.page.locator("main script, main svg, main [onerror], main b[onclick]").count() == 0
    assert found.is_quiet()


def test_no_policy_would_run_it_either(tab: OpenTab) -> None:
    found = tab()
    found.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'hurt = 1'; document.body.append(s) }"
    )
    assert found.page.evaluate("window.hurt") is None
    assert any("Content Security Policy" in each for each in found.complaints)


def test_right_to_left_texts_have_their_direction(tab: OpenTab) -> None:
    found = tab(VIEW.replace("k=12", "k=20"))
    title = found.page.locator("h3", has_text=ARABIC)
    assert title.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert (
        found.page.locator("h3", has_text="Film 3").first.evaluate("node => getComputedStyle(node).direction") == "ltr"
    )
    value(found, "words").fill(ARABIC)
    assert value(found, "words").evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert found.is_quiet()


def test_a_long_text_is_cut_and_can_be_seen(tab: OpenTab) -> None:
    found = tab(VIEW.replace("k=12", "k=20"))
    card = found.page.locator(".hit", has_text="A very long story")
    assert card.locator("h3").inner_text().startswith(LONG[:150] + "…")
    card.get_by_role("button", name="Show all").click()
    assert LONG.strip() in card.locator("h3").inner_text()
    assert len(found.hits()) == 20, "the button is no link to similar candidates"
    card.get_by_role("button", name="Show less").click()
    assert card.get_by_role("button", name="Show all").is_visible()


def test_a_picture_that_was_sent_is_what_was_chosen(tab: OpenTab, tmp_path: Path) -> None:
    """Its bytes go into the request as base64 of the file."""
    import base64

    found, target = tab(VIEW), io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(target, "PNG")
    (tmp_path / "a.png").write_bytes(target.getvalue())
    with found.page.expect_request(lambda request: '"photo"' in (request.post_data or "")) as sent:
        found.page.get_by_label("photo").set_input_files(tmp_path / "a.png")
    assert sent.value.post_data_json["query"]["photo"] == base64.b64encode(target.getvalue()).decode()
