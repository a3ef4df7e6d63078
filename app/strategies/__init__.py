"""Ways to learn, one YAML file each: what there is, what fits a machine and a number of examples, and why not."""

from app.strategies.definition import DEFAULT, LearningType, Strategy
from app.strategies.describing import json_schema
from app.strategies.loading import RefusedStrategy, Strategies

__all__ = [
    "DEFAULT",
    "LearningType",
    "RefusedStrategy",
    "Strategies",
    "Strategy",
    "json_schema",
]
