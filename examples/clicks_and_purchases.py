"""A shop whose visitors click and buy: one embedding for both, with metrics of each.

Items are of eight kinds, and a visitor clicks those of one kind. Every third item that is clicked is also bought.
"""

import numpy as np
import polars as pl
from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Categorical, History

seed_everything(1)
rng = np.random.default_rng(0)
visitor = np.repeat(np.arange(400), 60)
item = np.concatenate([rng.permutation(160)[:60] for _ in range(400)])
clicked = (visitor % 8 == item % 8) | (rng.random(len(item)) < 0.05)
log = pl.DataFrame({"visitor": visitor, "item": item, "clicked": clicked, "bought": clicked & (item % 3 == 0)})

data = RetrievalDataModule(
    source=Frames(log, query_id="visitor", candidate_id="item"),
    query=[History(name="clicks", of="item", dropout=0.3)],
    candidate=[Categorical(name="item")],
    split=PerQuery(test=0.3, validation=0.1),
    objectives={"click": "clicked", "buy": "bought"},
)
tower = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}}
losses, weights = {"click": "SampledSoftmax", "buy": "SampledSoftmax"}, {"click": 1, "buy": 3}
loss = {"class_path": "Objectives", "init_args": {"losses": losses, "weights": weights}}
scorer = {"class_path": "Dot", "init_args": {"logit_scale": 10}}
model = TwoTower(tower, tower, scorer, loss, {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.03}})
trainer = Trainer(accelerator="cpu", max_epochs=10, logger=False, enable_checkpointing=False)
trainer.fit(model, data)
(found,) = trainer.test(model, data, verbose=False)
clicks, purchases = (found[f"test/{name}/recall@10"] for name in ("click", "buy"))
print(f"recall@10 of 160 items: clicks {clicks:.2f}, purchases {purchases:.2f}")
