"""The failures of strategies that a client can meet."""

from __future__ import annotations

from app.errors import NotFoundError


class StrategyNotFoundError(NotFoundError):
    """There is no strategy of that name."""

    code = "strategy_not_found"
    advice = "Take a name from `GET /v1/strategies`."
