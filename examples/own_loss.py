"""A loss of your own: one class, from the scored batch to one value for each query.

In Python the class is passed as a callable, as below. In YAML and on the command line it is named by its path, as in
--model.loss own_loss.SoftHinge, where Python finds the file. Nothing is registered.
"""

from functools import partial

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from dssm_lightning import RetrievalDataModule, Tower, TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import HashedWords
from dssm_lightning.losses import Loss, Scores
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot


class SoftHinge(Loss):
    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> Tensor:
        hardest = scores.logits.masked_fill(~scores.is_negative, -torch.inf).amax(1)  # (Q,)
        return F.softplus(self.margin + hardest - scores.positive.squeeze(1))


if __name__ == "__main__":
    seed_everything(1)
    text = [HashedWords(name="text", num_buckets=1000)]
    data = RetrievalDataModule(Synthetic(), text, text, PerQuery(test=0.2, validation=0), batch_size=128)
    tower, loss = partial(Tower, fusion=Concat), partial(SoftHinge, margin=2.0)
    model = TwoTower(tower, tower, partial(Dot, logit_scale=10), loss, partial(torch.optim.Adam, lr=0.01))
    trainer = Trainer(max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    print(f"recall@10: {trainer.test(model, data, verbose=False)[0]['test/recall@10']:.3f}")
