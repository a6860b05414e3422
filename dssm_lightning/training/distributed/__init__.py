"""Several processes: agreement on the run, and tables whose rows are distributed."""

from dssm_lightning.training.distributed.sharded_tables import ShardedTables, one_file

__all__ = ["ShardedTables", "one_file"]
