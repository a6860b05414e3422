"""Batches from the prepared data: order of the rows, assembly of features, histories, and evaluation batches."""
