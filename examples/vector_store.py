"""Put a trained model's embeddings of the corpus into a vector store, and search there.

The store is a SQLite file of ids, titles and vectors, searched by NumPy; FAISS or a vector database takes the same
arrays. The model only embeds the query. The store ranks by inner product, as the model was trained to be ranked.
"""

import sqlite3

import numpy as np
from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import RetrievalDataModule, TwoTower, make_retriever
from dssm_lightning.data.sources import Tldr
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.features import HashedTrigrams

seed_everything(1)
texts = [[HashedTrigrams(name=name, num_buckets=10_000)] for name in ("query", "text")]
data = RetrievalDataModule(Tldr(), *texts, PublishedFold(column="heldout"))
tower = {"class_path": "Tower", "init_args": {"fusion": "Sum"}}
scorer = {"class_path": "Dot", "init_args": {"logit_scale": 20}}
adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.005}}
model = TwoTower(tower, tower, scorer, "SampledSoftmax", adam, tied_embeddings={"query": "text"})
Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False).fit(model, data)
retriever = make_retriever(model, data)  # embeds the corpus: (N, D)

store = sqlite3.connect("pages.sqlite")
store.execute("CREATE TABLE IF NOT EXISTS pages (id TEXT PRIMARY KEY, vector BLOB)")
vectors = (vector.tobytes() for vector in retriever.corpus.embeddings)
store.executemany("REPLACE INTO pages VALUES (?, ?)", zip(data.candidates["page_id"], vectors, strict=True))
store.commit()

ids, blobs = zip(*store.execute("SELECT id, vector FROM pages"), strict=True)
corpus = np.frombuffer(b"".join(blobs), np.float32).reshape(len(ids), -1)
query = retriever.encode_query("show free disk space")[0]
found = [ids[row] for row in np.argsort(-(corpus @ query))[:5]]
print(f"{corpus.shape[0]:,} vectors of {corpus.shape[1]} numbers; the store finds {found}")
print("the retriever finds the same:", found == [hit.id for hit in retriever.search("show free disk space", k=5)])
