"""From embeddings and texts to answers: exact search, search by terms, and the fusion of both."""
