"""What the routes of strategies are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.http.dependencies import opened
from app.strategies import Strategies

StrategyService = Annotated[Strategies, Depends(opened("strategies", Strategies))]
