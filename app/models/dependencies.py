"""What the routes of models are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.http.dependencies import opened
from app.inference.engine.interface import Engine
from app.models.aliases import Collections
from app.models.resolver import ModelResolver
from app.models.service import TrainedModels

TrainedModelService = Annotated[TrainedModels, Depends(opened("trained", TrainedModels))]
Models = Annotated[ModelResolver, Depends(opened("models", ModelResolver))]
Registry = Annotated[Engine, Depends(opened("registry", Engine))]
CollectionsByName = Annotated[Collections, Depends(opened("collection_names", Collections))]
