"""The command that embeds and compares a query and candidates that are given as raw values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dssm_lightning.cli.opened_retriever import OpenedRetriever
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file
from dssm_lightning.utils.text_files import parse_json, read_utf8


def score(
    input: str,
    bundle: str | None = None,
    config: list[str] | None = None,
    ckpt_path: str | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Embed a query and candidates given as raw values, and compare them.

    Args:
        input: a JSON file {"query": …, "positive_doc": …, "negative_docs": […]}. Each value is an object of columns, or
            a bare text if the model reads one column of that side.
        bundle: a bundle, which export wrote: a folder or a URL. It needs neither torch nor the training data.
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config); None = best.
        output: a file for the result; None = print it.

    Returns:
        the same keys; each value has its vector, and a candidate also its similarity to the query.
    """
    given = _read_score_input(Path(input))
    retriever = OpenedRetriever(bundle, ckpt_path, config).retriever()
    documents = [given["positive_doc"], *given["negative_docs"]]
    query = retriever.encode_query([given["query"]])
    candidates = retriever.encode_candidate(documents)
    similarities = retriever.similarity(query, candidates)[0].tolist()
    described = [
        {"value": value, "similarity": similarity, "vector": vector}
        for value, similarity, vector in zip(documents, similarities, candidates.tolist(), strict=True)
    ]
    result = {
        "query": {"value": given["query"], "vector": query[0].tolist()},
        "positive_doc": described[0],
        "negative_docs": described[1:],
    }
    text = json.dumps(result, ensure_ascii=False)
    if output is None:
        show_text(text)
    else:
        with atomic_write(Path(output)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        log_file("vectors and similarities", output)
    return result


def _read_score_input(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"--input {path}: no such file")
    name = f"--input {path}"
    given = parse_json(read_utf8(path, name), name)
    keys = {"query", "positive_doc", "negative_docs"}
    if not isinstance(given, dict) or set(given) != keys or not isinstance(given["negative_docs"], list):
        found = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise UserError(
            f"--input {path} must be an object with query, positive_doc and a list negative_docs; found {found}"
        )
    return given
