"""The failures of datasets that a client can meet."""

from __future__ import annotations

from app.errors import NotFoundError


class DatasetNotFoundError(NotFoundError):
    """There is no such dataset."""

    code = "dataset_not_found"
    advice = "Take an id from `GET /v1/datasets`."


class DatasetImageNotFoundError(NotFoundError):
    """The dataset shows no such image: GET /v1/datasets/{dataset}/images lists those that it shows."""

    code = "dataset_image_not_found"
    advice = "Take a SHA-256 from `GET /v1/datasets/{dataset}/images`."
