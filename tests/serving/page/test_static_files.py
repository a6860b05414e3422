"""The files of the page: small, safe by their own text, and served so that browsers keep them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from helpers.paths import ROOT
from starlette.requests import Request

from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.page.static_files import page_file, page_files, start_page

MOST_BYTES = 60 * 1024
FOLDER = ROOT / "dssm_lightning" / "serving" / "page"
MODULES = sorted(FOLDER.glob("*.js"))


def request(name: str = "", **headers: str) -> Request:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": f"/page/{name}",
        "path_params": {"file": name},
        "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
    }
    return Request(scope)


def test_the_page_is_small() -> None:
    sizes = {name: len(each.content) for name, each in page_files().items()}
    assert sum(sizes.values()) <= MOST_BYTES, sizes
    assert {"index.html", "style.css", "main.js"} <= sizes.keys()
    assert len(sizes) == len([path for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js")])


@pytest.mark.parametrize("name", sorted(page_files()))
def test_a_file_is_served_with_its_type_and_checksum(name: str) -> None:
    response = asyncio.run(page_file(request(name)))
    assert response.status_code == 200
    assert response.body == (FOLDER / name).read_bytes()
    kind = {"html": "text/html", "css": "text/css", "js": "text/javascript"}[name.rpartition(".")[2]]
    assert response.headers["content-type"] == f"{kind}; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    etag = response.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = asyncio.run(page_file(request(name, if_none_match=known)))
        assert (again.status_code, again.body) == (304, b"")
        assert again.headers["etag"] == etag
    assert asyncio.run(page_file(request(name, if_none_match='"other"'))).status_code == 200


def test_the_page_is_at_the_root() -> None:
    assert asyncio.run(start_page(request())).body == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("name", ["static_files.py", "__init__.py", "../app.py", "..", "", "none.js", "%2e%2e/app.py"])
def test_nothing_else_is_served(name: str) -> None:
    with pytest.raises(RequestError, match="nothing at") as error:
        asyncio.run(page_file(request(name)))
    assert error.value.status == 404


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_writes_html_or_runs_texts(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    banned = r"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|\beval\b|new Function|srcdoc|javascript:"
    assert re.findall(banned, text) == []
    assert re.findall(r"https?://|\bimport\(", text) == []
    for name in re.findall(r'from "\./([^"]+)"', text):
        assert (FOLDER / name).is_file(), name
    assert set(re.findall(r'setAttribute\("(\w+)"', text)) <= {"aria", "class"}, "attributes of fixed names only"


def test_every_module_is_used() -> None:
    imported = {name for path in MODULES for name in re.findall(r'from "\./([^"]+)"', path.read_text("utf-8"))}
    assert {path.name for path in MODULES} == imported | {"main.js"}


def test_the_html_needs_no_exception_from_its_policy() -> None:
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", text) == []
    assert '<link rel="icon" href="data:,">' in text, "browsers would ask for one"
    assert "@import" not in (FOLDER / "style.css").read_text(encoding="utf-8")
    assert "url(" not in (FOLDER / "style.css").read_text(encoding="utf-8")


def test_the_package_ships_the_files() -> None:
    patterns = re.search(r"dssm_lightning = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert patterns is not None
    shipped = {
        path.name for each in re.findall(r'"(serving/[^"]+)"', patterns[1]) for path in (FOLDER.parents[1]).glob(each)
    }
    assert set(page_files()) <= shipped
