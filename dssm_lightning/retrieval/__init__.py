"""From embeddings to answers."""
