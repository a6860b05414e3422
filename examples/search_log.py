"""Learn from a search log which page each query text leads to, then search all pages.

The log and the pages are Polars frames; pandas frames work too. Here they are the Linux part of the tldr pages, which
ship with the package. A tenth of the query texts is never trained on, and measures the search.
"""

import polars as pl
from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import Frames, RetrievalDataModule, TwoTower, make_retriever
from dssm_lightning.data.sources import Tldr
from dssm_lightning.data.splits import RandomQueries
from dssm_lightning.features import HashedTrigrams

shipped = Tldr().tables()
pages = shipped.candidates.filter(pl.col("platform") == "linux")  # page_id, title, text and more
log = shipped.interactions.join(pages, on="page_id", how="semi")  # query, page_id

seed_everything(1)
data = RetrievalDataModule(
    source=Frames(log, candidates=pages, query_id="query", candidate_id="page_id", display=["title"]),
    query=[HashedTrigrams(name="query", num_buckets=10_000)],
    candidate=[HashedTrigrams(name="text", num_buckets=10_000)],
    split=RandomQueries(test=0.1, validation=0),
)
model = TwoTower(
    query_tower={"class_path": "Tower", "init_args": {"fusion": "Sum"}},
    candidate_tower={"class_path": "Tower", "init_args": {"fusion": "Sum"}},
    tied_embeddings={"query": "text"},  # a letter trigram means the same on both sides
    scorer={"class_path": "Dot", "init_args": {"logit_scale": 20}},
    loss="SampledSoftmax",
    optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.005}},
)
trainer = Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(model, data)
metrics = trainer.test(model, data, verbose=False)[0]
print(f"hit rate@10 of new queries, {len(pages):,} pages: {metrics['test/hit_rate@10']:.3f}")
print("show free disk space:", [hit.id for hit in make_retriever(model, data).search("show free disk space", k=3)])
