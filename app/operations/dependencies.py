"""What the routes of operations are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from redis.asyncio import Redis

from app.http.dependencies import opened
from app.inference.engine.interface import Engine
from app.observability.metrics import Metrics
from app.operations.part import DefaultModel

RedisClient = Annotated[Redis, Depends(opened("redis", Redis))]
AppMetrics = Annotated[Metrics, Depends(opened("metrics", Metrics))]
AppModel = Annotated[DefaultModel, Depends(opened("default_model", DefaultModel))]
AppEngine = Annotated[Engine, Depends(opened("registry", Engine))]
