"""Questions about images, captions, and the answer examples that are shown along with a question."""
