"""What knows nothing of retrieval: ragged columns, hashing, seeds, files, processes."""
