"""An encoder of your own: one class, from one feature's column (B, …) to vectors (B, output_dim).

The class is built from a fitted feature, which knows its sizes. Here the numbers of a vector column go through Fourier
features (arXiv 2006.10739) and a linear layer, in place of the linear layer alone that is the default.
"""

from functools import partial

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor, nn

from dssm_lightning import RetrievalDataModule, Tower, TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Vector
from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.models.encoders import Encoder
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot


class Fourier(Encoder):
    def __init__(self, feature: Vector, output_dim: int = 64) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.register_buffer("frequencies", torch.randn(feature.width, 64))
        self.linear = nn.Linear(128, output_dim)

    def forward(self, column: Tensor) -> Tensor:
        angles = column @ self.frequencies  # (B, 64)
        return self.linear(torch.cat([angles.sin(), angles.cos()], dim=1))


if __name__ == "__main__":
    seed_everything(1)
    data = RetrievalDataModule(Synthetic(), [Vector(name="vector")], [Vector(name="vector")], PerQuery(0.2, 0))
    tower = partial(Tower, fusion=Concat, encoders={"vector": Fourier})
    model = TwoTower(tower, tower, partial(Dot, logit_scale=10), SampledSoftmax, partial(torch.optim.Adam, lr=0.01))
