"""What the routes of operations are given."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends
from redis.asyncio import Redis

from app.http.dependencies import opened
from app.observability.metrics import Metrics

RedisClient = Annotated[Redis, Depends(opened("redis", Redis))]
AppMetrics = Annotated[Metrics, Depends(opened("metrics", Metrics))]
DefaultModel = Annotated[asyncio.Task[None], Depends(opened("default_model", asyncio.Task))]
"""Loads the default model while the app already answers."""
