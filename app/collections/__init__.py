"""Learning labels from examples and recognising them: collections, examples, classify, search, embeddings."""
