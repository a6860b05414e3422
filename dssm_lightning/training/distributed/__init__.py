"""What several processes share: their agreement, and tables by rows."""

from dssm_lightning.training.distributed.sharded_tables import ShardedTables, one_file

__all__ = ["ShardedTables", "one_file"]
