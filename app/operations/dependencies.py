"""The services that the routes of operations depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from redis.asyncio import Redis

from app.http.dependencies import find_service
from app.inference.engine.interface import Engine
from app.observability.metrics import Metrics
from app.operations.part import DefaultModel

RedisClient = Annotated[Redis, Depends(find_service("redis", Redis))]
AppMetrics = Annotated[Metrics, Depends(find_service("metrics", Metrics))]
AppModel = Annotated[DefaultModel, Depends(find_service("default_model", DefaultModel))]
AppEngine = Annotated[Engine, Depends(find_service("registry", Engine))]
