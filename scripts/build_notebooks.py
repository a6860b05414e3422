"""Make a notebook of each tutorial that is marked for it: one text, to be read as a page or run as a notebook.

    python scripts/build_notebooks.py            write docs/tutorials/*.ipynb
    python scripts/build_notebooks.py --check    exit 1 if one of them is not what its page says

In a page, ``<!-- notebook -->`` asks for a notebook. A block after ``<!-- file: NAME -->`` becomes a cell that writes
the file; after ``<!-- run -->``, a cell that runs: Python as it is, commands by the shell. All other text is shown.
The first cell goes to the folder of the repository, where the tables are.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
MARK = "<!-- notebook -->\n"
START = """\
import os
from pathlib import Path

here = Path.cwd()
os.chdir(next(folder for folder in (here, *here.parents) if (folder / "examples" / "tables").is_dir()))"""
_BLOCK = re.compile(r"<!-- (file|run)(?:: (.+?))? -->\n```(\w+)\n(.*?)```\n", re.DOTALL)


def notebook_of(page: Path) -> str:
    """Return the text of a page's notebook."""
    cells = [new_code_cell(START), *_cells(page.read_text(encoding="utf-8").replace(MARK, ""))]
    for number, cell in enumerate(cells):
        cell["id"] = f"{page.stem}-{number}"
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.writes(new_notebook(cells=cells, metadata=kernel)) + "\n"


def _cells(text: str) -> Iterator[Any]:
    place = 0
    for block in _BLOCK.finditer(text):
        yield from _shown(text[place : block.start()])
        kind, name, language, code = block.groups()
        if kind == "file":
            yield new_code_cell(f"%%writefile {name}\n{code.rstrip()}")
        elif language == "python":
            yield new_code_cell(code.rstrip())
        else:
            yield new_code_cell(f"%%bash\nset -e\n{code.rstrip()}")
        place = block.end()
    yield from _shown(text[place:])


def _shown(text: str) -> Iterator[Any]:
    if text.strip():
        yield new_markdown_cell(text.strip())


def pages() -> list[Path]:
    """Return the pages that ask for a notebook."""
    return [page for page in sorted(TUTORIALS.glob("*.md")) if MARK in page.read_text(encoding="utf-8")]


def main(args: Sequence[str] | None = None) -> int:
    """Write or check all notebooks, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a notebook is not up to date")
    options = parser.parse_args(args)
    stale = 0
    for page in pages():
        path, text = page.with_suffix(".ipynb"), notebook_of(page)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if options.check:
            print(f"{path.relative_to(ROOT)} is not what {page.name} says: python scripts/build_notebooks.py")
        else:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))
    return int(options.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
