"""Filters by columns of the candidates: ``category = 'Animals & Nature' and year > 1990``.

A filter is parsed into a small tree, never into code. Importing this package loads numpy and nothing larger.
"""

from dssm_lightning.retrieval.filters.conditions import Filter
from dssm_lightning.retrieval.filters.grammar import parse_filter

__all__ = ["Filter", "parse_filter"]
