"""What the routes of datasets are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.datasets.service import Datasets
from app.http.dependencies import opened

DatasetService = Annotated[Datasets, Depends(opened("datasets", Datasets))]
