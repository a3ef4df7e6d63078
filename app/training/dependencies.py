"""The services that the routes of training depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.http.dependencies import find_service
from app.training.service import Training

TrainingService = Annotated[Training, Depends(find_service("training", Training))]
