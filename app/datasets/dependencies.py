"""The services that the routes of datasets depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.datasets.service import Datasets
from app.http.dependencies import find_service

DatasetService = Annotated[Datasets, Depends(find_service("datasets", Datasets))]
