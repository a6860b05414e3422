"""Recommend from interactions alone: a user is the sequence of items that the user liked before.

The table has the columns query_id (the user), candidate_id (the item) and time; here a synthetic one of 500 users and
300 items. The last item of each user is never trained on. A new user can be served: only the history counts.
"""

from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import Frames, RetrievalDataModule, TwoTower, make_retriever
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import LeaveLastN
from dssm_lightning.features import Categorical, History

interactions = Synthetic(num_queries=500, num_candidates=300).tables().interactions

seed_everything(1)
data = RetrievalDataModule(
    source=Frames(interactions.select("query_id", "candidate_id", "time"), time="time"),
    query=[History(name="history", of="candidate_id", order="time")],
    candidate=[Categorical(name="candidate_id")],
    split=LeaveLastN(test=1, validation=0),
    batch_size=256,
)
bag = {"class_path": "EmbeddingBag", "init_args": {"output_dim": 32}}
model = TwoTower(
    query_tower={"class_path": "Tower", "init_args": {"fusion": "Concat", "encoders": {"history": bag}}},
    candidate_tower={"class_path": "Tower", "init_args": {"fusion": "Concat"}},
    tied_embeddings={"history": "candidate_id"},  # one table of items serves both sides
    scorer={"class_path": "Dot", "init_args": {"logit_scale": 10}},
    loss="SampledSoftmax",
    optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
)
trainer = Trainer(max_epochs=15, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(model, data)
metrics = trainer.test(model, data, verbose=False)[0]
print(f"recall@10 of the last item, of {data.num_candidates} items: {metrics['test/recall@10']:.3f}")
history = interactions["candidate_id"][:2].to_list()
hits = make_retriever(model, data).search({"history": history}, k=3, exclude_history=True)
print(f"for a new user with the history {history}: {[hit.id for hit in hits]}")
