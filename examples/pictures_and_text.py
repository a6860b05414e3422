"""Find emoji by a keyword, from their pictures and names together: two features in one candidate tower.

These are the animals and plants among the emoji that ship with the package. A picture is a column of PNG bytes, or of
paths. A fifth of the keywords is never trained on.
"""

import polars as pl
from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import Frames, RetrievalDataModule, TwoTower
from dssm_lightning.data.sources import Emoji
from dssm_lightning.data.splits import RandomQueries
from dssm_lightning.features import HashedTrigrams, Image

shipped = Emoji().tables()
emoji = shipped.candidates.filter(pl.col("category") == "Animals & Nature")
found = shipped.interactions.join(emoji, on="unified", how="semi")
keywords = shipped.queries.join(found, on="query_id", how="semi")

seed_everything(1)
data = RetrievalDataModule(
    source=Frames(found, keywords, emoji, candidate_id="unified", display=["emoji"]),
    query=[HashedTrigrams(name="query", num_buckets=5_000)],
    candidate=[HashedTrigrams(name="name", num_buckets=5_000), Image(name="picture")],
    split=RandomQueries(test=0.2, validation=0),
    batch_size=128,
)
model = TwoTower(
    query_tower={"class_path": "Tower", "init_args": {"fusion": "Sum"}},  # adds up the features of a side
    candidate_tower={"class_path": "Tower", "init_args": {"fusion": "Sum"}},
    tied_embeddings={"query": "name"},
    scorer={"class_path": "Dot", "init_args": {"logit_scale": 20}},
    loss="SampledSoftmax",
    optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.005}},
)
trainer = Trainer(max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(model, data)
hit_rate = trainer.test(model, data, verbose=False)[0]["test/hit_rate@10"]
print(f"hit rate@10 of new keywords, {len(emoji)} emoji: {hit_rate:.3f}")
