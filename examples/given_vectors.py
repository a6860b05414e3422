"""Measure embeddings that were computed elsewhere: rank the whole corpus for each query, without any training.

Two arrays of one width will do, (Q, D) for the queries and (N, D) for the corpus. Here each text of the emoji data is
a sum of random vectors of its letter trigrams, which needs no model.
"""

import zlib

import numpy as np
import torch

from dssm_lightning import evaluate_vectors
from dssm_lightning.data.sources import Emoji

TABLE = np.random.default_rng(0).normal(size=(4096, 256))


def embed(texts: list[str]) -> torch.Tensor:
    """(rows, 256), each of length 1. Put the model that you want to measure in place of this function."""
    trigrams = [[f" {text.lower()} "[i : i + 3].encode() for i in range(len(text))] for text in texts]
    vectors = np.stack([TABLE[[zlib.crc32(each) % 4096 for each in row]].sum(axis=0) for row in trigrams])
    return torch.nn.functional.normalize(torch.from_numpy(vectors).float())


shipped = Emoji().tables()
emoji = shipped.candidates.with_row_index("row")
found = shipped.interactions.unique().join(emoji, on="unified").group_by("query_id").agg("row")
queries = shipped.queries.join(found, on="query_id")  # row: list of the corpus rows that the query should find
corpus = embed(emoji["name"].to_list())
metrics = evaluate_vectors(embed(queries["query"].to_list()), corpus, relevant=queries["row"].to_list(), ks=[10])
print(f"{len(queries):,} queries: hit rate@10 {metrics['hit_rate@10']:.3f}, mrr {metrics['mrr']:.3f}")
