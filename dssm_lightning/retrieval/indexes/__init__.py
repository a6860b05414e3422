"""Indexes: search a corpus of vectors exactly or approximately, behind one small interface.

Importing this package loads numpy and nothing larger; an engine is imported when an index of it is built or loaded.
"""

from dssm_lightning.retrieval.indexes.base import Found, Index
from dssm_lightning.retrieval.indexes.exact import Exact
from dssm_lightning.retrieval.indexes.faiss_index import Faiss
from dssm_lightning.retrieval.indexes.load_index import load_index
from dssm_lightning.retrieval.indexes.qdrant_index import Qdrant
from dssm_lightning.retrieval.indexes.recall_table import RecallRow, recall_table

__all__ = ["Exact", "Faiss", "Found", "Index", "Qdrant", "RecallRow", "load_index", "recall_table"]
