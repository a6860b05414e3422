"""A loss of your own: one class, from the scored batch to one value for each query. Nothing is registered.

In Python the class is passed as a callable, as below. In YAML and on the command line it is named by its path, as in
--model.loss own_loss.SoftHinge, when Python finds the file.
"""

from functools import partial

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import HashedWords
from dssm_lightning.losses import Loss, Scores


class SoftHinge(Loss):
    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> torch.Tensor:
        hardest = scores.logits.masked_fill(~scores.is_negative, -torch.inf).amax(1)  # (Q,) known positives are masked
        return F.softplus(self.margin + hardest - scores.positive.squeeze(1))


if __name__ == "__main__":
    seed_everything(1)
    text = [HashedWords(name="text", num_buckets=1000)]
    data = RetrievalDataModule(Synthetic(num_queries=400), text, text, PerQuery(test=0.2, validation=0), batch_size=64)
    tower = {"class_path": "Tower", "init_args": {"fusion": "Concat"}}
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}}
    model = TwoTower(tower, tower, {"class_path": "Dot", "init_args": {"logit_scale": 10}}, partial(SoftHinge, 2), adam)
    trainer = Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    print(f"recall@10 of 300 candidates: {trainer.test(model, data, verbose=False)[0]['test/recall@10']:.3f}")
