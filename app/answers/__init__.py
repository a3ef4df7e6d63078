"""Questions about images, captions, and the answer examples that are shown along with a question.

Knows prompts and answers; how a model comes to its answer is `app.families.vlms`.
"""
