"""Commands that need no trainer: plain functions whose arguments are the options of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from dssm_lightning.arguments import as_json, find_checkpoint
from dssm_lightning.collisions import hashing_report
from dssm_lightning.comparison import compare
from dssm_lightning.curves import curves
from dssm_lightning.mined import mine
from dssm_lightning.results import print_metrics
from dssm_lightning.retriever import Hit, RawValues
from dssm_lightning.spelling import SpellingParser
from dssm_lightning.summary import ModelSummary


def search(
    query: list[str],
    ckpt_path: str = "best",
    k: int | None = None,
    json: bool = False,
    picture: str | None = None,
    exclude_history: bool = False,
    hybrid: bool = False,
    hybrid_weight: float = 1.0,
) -> list[list[Hit]]:
    """Answer queries with a trained model.

    Args:
        query: raw values as a JSON object such as '{"query": "grinning cat"}', or a bare text where the query side
            reads one column; give the option again for a further query.
        ckpt_path: a checkpoint of a run, or best, or last: of the newest run.
        k: how many answers; None = 10, or all where the corpus has fewer.
        json: print JSON lines instead of tables.
        picture: a PNG file for what was found, where candidates have pictures: a row for each query.
        exclude_history: leave out what stands in the history that a query gives.
        hybrid: rank by the reciprocal rank fusion of the model with BM25.
        hybrid_weight: weight of BM25's list in it.

    Returns:
        for each query its hits, best first.
    """
    from dssm_lightning import pictures
    from dssm_lightning.hybrid import Hybrid
    from dssm_lightning.settings import load_run, make_retriever

    values = [_raw(text) for text in query]
    model, data = load_run(_checkpoint(ckpt_path))
    if picture is not None:  # what cannot be drawn is said before the corpus is embedded
        pictures.picture_feature(data)
        pictures.require_png(Path(picture))
    words = Hybrid(data.data, hybrid_weight) if hybrid else None
    retriever = make_retriever(model, data, words)
    k = min(10, len(retriever.candidates)) if k is None else k
    answers = [retriever.search(value, k, exclude_history) for value in values]
    for text, hits in zip(query, answers, strict=True):
        _print_json(text, hits) if json else _print_table(text, hits)
    if picture is not None:
        pictures.draw_hits([_title(value) for value in values], answers, data, Path(picture))
        if not json:
            print(f"the hits as pictures: {picture}")
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

    Writes ``baselines.json`` beside the newest run of the config, or into the working folder where there is none, and
    from the test rows ``per_query.<baseline>.parquet``, which ``compare`` reads.

    Args:
        config: configs, later ones over earlier ones.
        corpus_columns: candidate columns whose text TF-IDF and BM25 search; by default all that the candidates' text
            features read, the training queries of ``LikedBy`` too.
        fold: what is ranked.

    Returns:
        the metrics of each baseline, by its name with its settings.
    """
    from dssm_lightning.measure import measure_baselines
    from dssm_lightning.settings import load_data

    data = load_data(config)
    newest = find_checkpoint("best", config[0])
    folder = Path() if newest is None else newest.parent.parent
    results = measure_baselines(data, corpus_columns, fold, folder if fold == "test" else None)
    (folder / "baselines.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_metrics(results)
    print(f"all metrics: {folder / 'baselines.json'}")
    return results


def summary(
    config: list[str] | None = None, ckpt_path: str | None = None, plot: str | None = None, depth: int = 2
) -> ModelSummary:
    """Print output shape and parameters of every branch and layer of a model.

    Args:
        config: configs, later ones over earlier ones, whose data say how large the tables are.
        ckpt_path: a checkpoint of a run, or best, or last (of the newest run), instead of a config.
        plot: an SVG file for a drawing of the two towers.
        depth: how deep into a branch's own layers to go.

    Returns:
        what was printed.
    """
    from dssm_lightning.plot import draw_network, require_svg
    from dssm_lightning.settings import load_data, load_run, load_untrained
    from dssm_lightning.summary import describe, print_summary

    if (config is None) == (ckpt_path is None):
        raise ValueError("summary needs either --config, for an untrained model, or --ckpt_path, for a trained one")
    if plot is not None:
        require_svg(Path(plot))
    if ckpt_path is not None:
        model, data = load_run(_checkpoint(ckpt_path))
    else:
        assert config is not None
        model, data = load_untrained(config), load_data(config)
        model.build(data.schemas)
    described = describe(model, data)
    print_summary(described, depth)
    if plot is not None:
        draw_network(described, Path(plot))
        print(f"the two towers: {plot}")
    return described


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


def _title(value: RawValues) -> str:
    if isinstance(value, str):
        return value
    return str(next(iter(value.values()))) if len(value) == 1 else ", ".join(f"{k}: {v}" for k, v in value.items())


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


COMMANDS: dict[str, Callable[..., Any]] = {
    each.__name__.replace("_", "-"): each
    for each in (baseline, search, score, summary, compare, curves, mine, hashing_report)
}


def run(arguments: list[str]) -> Any:
    """Run the command that the first argument names, with the others as its options."""
    name, *options = arguments
    command = COMMANDS[name]
    description = (command.__doc__ or "").partition("\n")[0]
    parser = SpellingParser(prog=f"dssm-lightning {name}", description=description)
    # auto_cli would take --config for itself; what is compared needs no name
    parser.add_function_arguments(command, as_group=False, as_positional=command is compare)
    return command(**parser.parse_args(as_json(options, command)).as_dict())
