"""Optimizers for large sparse tables beside small dense layers, each as one optimizer whose state can be resumed."""

from dssm_lightning.training.optimizers.lazy_adam import LazyAdam
from dssm_lightning.training.optimizers.row_wise_adagrad import RowWiseAdagrad
from dssm_lightning.training.optimizers.schedules import WarmUp
from dssm_lightning.training.optimizers.sparse_and_dense import OptimizerFactory, SparseAndDense
from dssm_lightning.training.optimizers.sparse_tables import check_sparse_tables, sparse_tables

__all__ = [
    "LazyAdam",
    "OptimizerFactory",
    "RowWiseAdagrad",
    "SparseAndDense",
    "WarmUp",
    "check_sparse_tables",
    "sparse_tables",
]
