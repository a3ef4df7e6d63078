"""The services that the routes of models depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.http.dependencies import find_service
from app.inference.engine.interface import Engine
from app.models.aliases import Collections
from app.models.resolver import ModelResolver
from app.models.service import TrainedModels

TrainedModelService = Annotated[TrainedModels, Depends(find_service("trained", TrainedModels))]
Models = Annotated[ModelResolver, Depends(find_service("models", ModelResolver))]
Registry = Annotated[Engine, Depends(find_service("registry", Engine))]
CollectionsByName = Annotated[Collections, Depends(find_service("collection_names", Collections))]
