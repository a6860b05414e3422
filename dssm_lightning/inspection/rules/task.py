"""What kind of task the data ask for."""

from __future__ import annotations

from dssm_lightning.inspection.rules.decisions import Decision
from dssm_lightning.inspection.rules.situation import Situation


def task_decision(situation: Situation) -> Decision:
    """Return the task as the table of `init` shows it."""
    profile = situation.profile
    if situation.task == "rerank":
        why = f"each query has its own list: {profile.num_pairs:,} liked and {profile.num_negative_pairs:,} other pairs"
        return Decision("task", "re-ranking of lists", why)
    if situation.task == "search":
        shared = f"; {profile.share_shared_texts:.0%} of them share a word with what is liked"
        shared = shared if situation.candidate_texts else "; candidates have none"
        texts = ", ".join(column.name for column in situation.query_texts)
        lists = "; to rank the judged list of each query in place of the corpus: --task rerank"
        judged = lists if profile.num_negative_pairs >= profile.num_queries else ""
        return Decision("task", "search by text", f"queries are texts ({texts}){shared}{judged}")
    if situation.queries_return:
        often = f"{profile.pairs_per_query:,.0f} liked candidates for each query, in the median"
        return Decision("task", "recommendation", f"queries come back: {often}")
    return Decision("task", "recommendation", "queries are described by columns and do not come back")
