"""The failures of models that a client can meet."""

from __future__ import annotations

from app.errors import ConflictError


class ModelExistsError(ConflictError):
    """A model of that name exists already."""

    code = "model_exists"
    advice = "Choose another name, or delete the model that has it."
