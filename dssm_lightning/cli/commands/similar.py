"""The command that finds the candidates most similar to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dssm_lightning.cli.hit_tables import show_json, show_table
from dssm_lightning.cli.opened_retriever import OpenedRetriever, joined_filter

if TYPE_CHECKING:
    from dssm_lightning.retrieval.retriever import Hit


def similar(
    id: str,
    bundle: str | None = None,
    config: list[str] | None = None,
    ckpt_path: str | None = None,
    k: int | None = None,
    exclude: list[str] | None = None,
    filter: list[str] | None = None,
    json: bool = False,
) -> list[Hit]:
    """Show the candidates whose embeddings have the greatest cosine with that of a candidate.

    Args:
        id: of the candidate, which is not among its own answers.
        bundle: a bundle, which export wrote: a folder or a URL. It needs neither torch nor the training data.
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config); None = best.
        k: number of answers; None = 10, or all other candidates if there are fewer.
        exclude: ids of further candidates that are left out. Repeat the option for further ids.
        filter: a condition on the candidates' columns, such as "year > 1990 and genre in ('War', 'Drama')". Repeat the
            option for further conditions; all of them must hold.
        json: print a JSON line instead of a table.

    Returns:
        the hits, best first; their scores are cosines.
    """
    kept = joined_filter(filter)
    opened = OpenedRetriever(bundle, ckpt_path, config)
    out = list(dict.fromkeys(exclude or ()))
    k = opened.require_k("similar", k, len({id, *out}))
    hits = opened.retriever().similar(id, k, exclude=out, filter=kept)
    if json:
        show_json("id", id, hits)
    else:
        show_table(f"similar to {id}", hits)
    return hits
