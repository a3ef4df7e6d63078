"""Learning labels from examples and recognising them: collections, examples, classify, search, embeddings.

Knows nothing of training jobs or of questions; a model is an encoder, from images and texts to vectors.
"""
