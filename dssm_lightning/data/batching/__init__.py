"""From the cache to batches: order, assembly, histories, evaluation."""
