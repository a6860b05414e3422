"""The command that answers queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.cli.command_arguments import require_with
from dssm_lightning.cli.hit_tables import LONGEST_CELL, show_json, show_readings, show_table
from dssm_lightning.cli.opened_retriever import OpenedRetriever, joined_filter
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file
from dssm_lightning.utils.text_files import parse_json

if TYPE_CHECKING:
    from dssm_lightning.data.retrieval_data import RetrievalData
    from dssm_lightning.features.readings import Reading
    from dssm_lightning.retrieval.retriever import Hit, RawValues, SearchOptions


def search(
    query: list[str] | None = None,
    bundle: str | None = None,
    config: list[str] | None = None,
    ckpt_path: str | None = None,
    k: int | None = None,
    json: bool = False,
    picture: str | None = None,
    exclude: list[str] | None = None,
    exclude_history: bool = False,
    filter: list[str] | None = None,
    hybrid: bool = False,
    hybrid_weight: float | None = None,
    diversity: float = 0.0,
    queries: str | None = None,
    output: str | None = None,
    id_column: str | None = None,
) -> list[list[Hit]] | Path:
    """Answer queries with a trained model.

    Args:
        query: raw values as a JSON object such as '{"query": "grinning cat"}', or a bare text if the model reads one
            column of queries. Repeat the option for further queries.
        bundle: a bundle, which export wrote: a folder or a URL. It needs neither torch nor the training data.
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config); None = best.
        k: number of answers; None = 10, or the whole corpus if it is smaller.
        json: print JSON lines instead of tables.
        picture: a PNG file for the pictures of the answers, one row for each query; not with a bundle.
        exclude: ids of candidates that are left out. Repeat the option for further ids.
        exclude_history: leave out the candidates in the history of the query.
        filter: a condition on the candidates' columns, such as "year > 1990 and genre in ('War', 'Drama')". Repeat the
            option for further conditions; all of them must hold.
        hybrid: rank by the blend of the model with BM25 that the fit chose on validation rows, or, if it chose none, by
            their reciprocal rank fusion.
        hybrid_weight: rank by the reciprocal rank fusion with this weight of BM25's list.
        diversity: 0 = the best scores; up to 1, answers that differ more from each other, chosen among the best ones.
        queries: a file of many queries, in place of query: CSV, TSV, JSON Lines or Parquet with their raw columns, or
            stored vectors: the Parquet that predict writes, or safetensors with one tensor.
        output: a file for the answers of queries: .parquet, .csv or .jsonl.
        id_column: the column of queries that identifies a query in the output; None = the first one that the model does
            not read, or else the number of the row.

    Returns:
        the hits of each query, best first; or the path of the output.
    """
    values = _asked(query, queries, output, id_column, json, picture)
    require_with("--hybrid_weight", hybrid_weight, "--hybrid", hybrid)
    blend: float | bool | None = (True if hybrid_weight is None else hybrid_weight) if hybrid else None
    options = _options(exclude, exclude_history, filter, blend, diversity)
    if picture is not None and bundle is not None:
        raise UserError(
            f"--picture {picture} needs the training data, which --bundle {bundle} has not: use --ckpt_path"
        )
    opened = OpenedRetriever(bundle, ckpt_path, config)
    k = opened.require_k("search", k, len(options["exclude"]))  # before the corpus is embedded
    if queries is not None and output is not None:
        return _answer_file(opened, queries, Path(output), id_column, k, options)
    if picture is not None and opened.data is not None:
        _require_picture(picture, opened.data)
    retriever = opened.retriever()
    answers = [retriever.search(value, k, **options) for value in values]
    for text, value, hits in zip(query or (), values, answers, strict=True):
        _show(text, hits, retriever.read(value), json)
    if picture is not None and opened.data is not None:
        _draw(picture, values, answers, opened.data)
        log_file("the hits as pictures", picture)
    return answers


def _options(
    exclude: list[str] | None,
    exclude_history: bool,
    filter: list[str] | None,
    hybrid: float | bool | None,
    diversity: float,
) -> SearchOptions:
    from dssm_lightning.retrieval.diversity import require_diversity

    return {
        "exclude": list(dict.fromkeys(exclude or ())),
        "exclude_history": exclude_history,
        "filter": joined_filter(filter),
        "hybrid": hybrid,
        "diversity": require_diversity(diversity),
    }


def _show(text: str, hits: list[Hit], readings: list[Reading], json: bool) -> None:
    if json:
        show_json("query", text, hits, readings)
        return
    show_table(text, hits)
    show_readings(readings)


def _asked(
    query: Sequence[str] | None,
    queries: str | None,
    output: str | None,
    id_column: str | None,
    json: bool,
    picture: str | None,
) -> list[RawValues]:
    """Return the queries of the command line; check that the options fit each other."""
    if queries is not None:
        if query:
            raise UserError(f"--query {query[0]} and --queries {queries}: leave one of them out")
        require_with("--queries", queries, "--output", output is not None)
        for name, given in (("--json", json or None), ("--picture", picture)):
            require_with(name, given, "--query", False)
        from dssm_lightning.cli.topk_files import require_output

        require_output(Path(str(output)))
        return []
    for name, value in (("--output", output), ("--id_column", id_column)):
        require_with(name, value, "--queries", False)
    if not query:
        raise UserError("search needs --query TEXT, or --queries FILE with --output FILE")
    return [_raw_values(text) for text in query]


def _raw_values(text: str) -> RawValues:
    if not text.lstrip().startswith("{"):
        return text
    value = parse_json(text, f"--query {text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + '…'}")
    assert isinstance(value, dict)
    return value


# -- files of queries --------------------------------------------------------------------------------------------------


def _answer_file(
    opened: OpenedRetriever, queries: str, output: Path, id_column: str | None, k: int, options: SearchOptions
) -> Path:
    from dssm_lightning.cli.query_answers import answer_file

    count = answer_file(opened.retriever(), queries, output, id_column, k, options)
    log_file(f"the best {k:,} candidates of {count:,} queries", output)
    return output


# -- pictures ----------------------------------------------------------------------------------------------------------


def _require_picture(picture: str, data: RetrievalData) -> None:
    from dssm_lightning.reports.hit_pictures import picture_feature, require_png

    picture_feature(data)
    require_png(Path(picture))


def _draw(picture: str, values: list[RawValues], answers: list[list[Hit]], data: RetrievalData) -> None:
    from dssm_lightning.reports.hit_pictures import draw_hits

    draw_hits([_title(value) for value in values], answers, data, Path(picture))


def _title(value: RawValues) -> str:
    if isinstance(value, str):
        return value
    return str(next(iter(value.values()))) if len(value) == 1 else ", ".join(f"{k}: {v}" for k, v in value.items())
