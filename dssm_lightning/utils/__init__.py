"""Tools that know nothing of retrieval: ragged columns, hashing, seeds, files, processes."""
