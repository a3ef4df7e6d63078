"""The services that the routes of strategies depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.http.dependencies import find_service
from app.strategies import Strategies

StrategyService = Annotated[Strategies, Depends(find_service("strategies", Strategies))]
