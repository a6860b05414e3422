"""Commands that need no trainer: plain functions whose arguments are the options of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from dssm_lightning.arguments import find_checkpoint
from dssm_lightning.retriever import Hit, RawValues


def search(query: list[str], ckpt_path: str = "best", k: int = 10, json: bool = False) -> list[list[Hit]]:
    """Answer queries with a trained model.

    Args:
        query: raw values as a JSON object such as '{"query": "grinning cat"}', or a bare text where the query side
            reads one column; several may follow each other.
        ckpt_path: a checkpoint of a run, or best, or last: of the newest run.
        k: how many answers.
        json: print JSON lines instead of tables.

    Returns:
        for each query its hits, best first.
    """
    from dssm_lightning.settings import load_retriever

    retriever = load_retriever(_checkpoint(ckpt_path))
    answers = [retriever.search(_raw(text), k) for text in query]
    for text, hits in zip(query, answers, strict=True):
        _print_json(text, hits) if json else _print_table(text, hits)
    return answers


def score(input: str, ckpt_path: str = "best", output: str | None = None) -> dict[str, Any]:
    """Embed a query and candidates given as raw values, and compare them.

    Args:
        input: a JSON file {"query": …, "positive_doc": …, "negative_docs": […]}; each value an object of columns, or a
            bare text where that side reads one column.
        ckpt_path: a checkpoint of a run, or best, or last: of the newest run.
        output: a file for the result; None = print it.

    Returns:
        the same keys, each with its value, its vector and (candidates) its similarity to the query.
    """
    from dssm_lightning.settings import load_retriever

    given = _read_score_input(Path(input))
    retriever = load_retriever(_checkpoint(ckpt_path))
    documents = [given["positive_doc"], *given["negative_docs"]]
    query = retriever.embed("query", [given["query"]])
    candidates = retriever.embed("candidate", documents)
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
        print(text)
    else:
        Path(output).write_text(text + "\n", encoding="utf-8")
    return result


def baseline(
    config: list[str], corpus_columns: list[str] | None = None, fold: Literal["test", "validation"] = "test"
) -> dict[str, dict[str, float]]:
    """Measure what needs no training, fitted on the same rows and ranked by the same evaluation.

    Writes ``baselines.json`` beside the newest run of the config, or into the working folder where there is none.

    Args:
        config: configs, later ones over earlier ones.
        corpus_columns: candidate columns whose text TF-IDF and BM25 search; by default those of the text features.
        fold: what is ranked.

    Returns:
        the metrics of each baseline, by its name with its settings.
    """
    from dssm_lightning.measure import measure_baselines
    from dssm_lightning.settings import load_data

    results = measure_baselines(load_data(config), corpus_columns, fold)
    newest = find_checkpoint("best", config[0])
    folder = Path() if newest is None else newest.parent.parent
    (folder / "baselines.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_metrics(results)
    print(f"all metrics: {folder / 'baselines.json'}")
    return results


def print_metrics(results: dict[str, dict[str, float]]) -> None:
    """One row for each model, the metrics that fit a screen."""
    names = ("hit_rate@10", "recall@10", "recall@100", "precision@10", "ndcg@10", "mrr", "query_auroc", "auroc")
    shown = [name for name in names if any(name in metrics for metrics in results.values())]
    table = Table("", *shown)
    for model, metrics in results.items():
        table.add_row(model, *(f"{metrics[name]:.4f}" for name in shown))
    Console().print(table)


def _read_score_input(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"--input {path}: no such file")
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"--input {path} is no JSON: {error}") from error
    keys = {"query", "positive_doc", "negative_docs"}
    if not isinstance(given, dict) or set(given) != keys or not isinstance(given["negative_docs"], list):
        found = sorted(given) if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"--input {path} must be an object with query, positive_doc and a list negative_docs; {found}")
    return given


def _checkpoint(which: str) -> Path:
    found = find_checkpoint(which, None)
    if found is None:
        raise ValueError(f"no run under {Path('runs').resolve()} has a {which}.ckpt: fit first, or name a file")
    return found


def _raw(text: str) -> RawValues:
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--query {text!r} is no JSON object: {error}") from error
    assert isinstance(value, dict)
    return value


def _print_table(query: str, hits: list[Hit]) -> None:
    shown = list(hits[0].display)
    table = Table("", "id", "score", *shown, title=query, title_justify="left")
    for place, hit in enumerate(hits, 1):
        table.add_row(str(place), str(hit.id), f"{hit.score:.4f}", *(_cell(hit.display[name]) for name in shown))
    Console().print(table)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _print_json(query: str, hits: list[Hit]) -> None:
    print(json.dumps({"query": query, "hits": [hit._asdict() for hit in hits]}, ensure_ascii=False, default=str))


COMMANDS: dict[str, Callable[..., Any]] = {"baseline": baseline, "search": search, "score": score}


def run(arguments: list[str]) -> Any:
    """Run the command that the first argument names, with the others as its options."""
    name = arguments[0]
    return auto_cli(COMMANDS[name], args=arguments[1:], prog=f"dssm-lightning {name}", as_positional=False)
