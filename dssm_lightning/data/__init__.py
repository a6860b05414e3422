"""Where batches come from: sources, splits, negatives, and the data module that joins them."""
