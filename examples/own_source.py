"""A source of your own: one class that returns the raw tables, and a fingerprint that changes with their content.

A query is the first line of a docstring in Python's standard library, a candidate the name of the function or class.
"""

from importlib import import_module

from lightning.pytorch import Trainer, seed_everything
from polars import DataFrame

from dssm_lightning import Frames, RetrievalDataModule, TwoTower
from dssm_lightning.data.sources import Source
from dssm_lightning.data.splits import RandomQueries
from dssm_lightning.features import HashedTrigrams


class StandardLibrary(Source):
    def __init__(self, modules: list[str]) -> None:
        self.modules = modules

    def tables(self):
        found = [(m, *pair) for m in self.modules for pair in vars(import_module(m)).items() if callable(pair[1])]
        rows = [(value.__doc__.strip().splitlines()[0], f"{m}.{name}") for m, name, value in found if value.__doc__]
        return Frames(DataFrame(rows, ["text", "name"], orient="row"), query_id="text", candidate_id="name").tables()

    def fingerprint(self) -> str:
        return self._digest(self.tables().interactions.rows())  # of the class, its arguments and the rows


if __name__ == "__main__":
    seed_everything(1)
    source = StandardLibrary(["math", "os", "shutil", "operator", "statistics", "random", "inspect", "tempfile"])
    query, candidate = ([HashedTrigrams(name=name, num_buckets=5_000)] for name in ("text", "name"))
    data = RetrievalDataModule(source, query, candidate, RandomQueries(test=0.2, validation=0), batch_size=64)
    tower, adam = {"class_path": "Tower", "init_args": {"fusion": "Sum"}}, {"class_path": "torch.optim.Adam"}
    model = TwoTower(tower, tower, "Dot", "SampledSoftmax", adam)
    trainer = Trainer(max_epochs=30, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
    print(f"hit rate@10 of new queries: {trainer.test(model, data, verbose=False)[0]['test/hit_rate@10']:.3f}")
