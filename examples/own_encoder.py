"""An encoder of your own: one class, from one feature's column (B, …) to vectors (B, output_dim).

Here: vectors through Fourier features (arXiv 2006.10739). A tower takes encoders by the names of their features.
"""

from functools import partial

import torch
from lightning.pytorch import Trainer, seed_everything

from dssm_lightning import RetrievalDataModule, Tower, TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Vector
from dssm_lightning.models.encoders import Encoder
from dssm_lightning.models.fusion import Concat


class Fourier(Encoder):
    def __init__(self, feature: Vector, output_dim: int = 64) -> None:
        super().__init__()
        self.output_dim = output_dim
        self.register_buffer("frequencies", 0.3 * torch.randn(feature.width, 64))
        self.linear = torch.nn.Linear(128, output_dim)

    def forward(self, column: torch.Tensor) -> torch.Tensor:
        angles = column @ self.frequencies  # (B, 64)
        return self.linear(torch.cat([angles.sin(), angles.cos()], dim=1))


if __name__ == "__main__":
    seed_everything(1)
    vector = [Vector(name="vector")]
    data = RetrievalDataModule(Synthetic(), vector, vector, PerQuery(test=0.2, validation=0), batch_size=256)
    tower = partial(Tower, fusion=Concat, encoders={"vector": Fourier})
    model = TwoTower(tower, tower, "Dot", "SampledSoftmax", partial(torch.optim.Adam, lr=0.01))
    trainer = Trainer(max_epochs=10, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    print(f"recall@10 of 300 candidates: {trainer.test(model, data, verbose=False)[0]['test/recall@10']:.3f}")
