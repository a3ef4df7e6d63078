"""Ways to learn, one YAML file each: what there is, what fits a machine and a number of examples, and why not.

Knows the files, their schema and what they say they need; knows nothing of training.
"""

from app.catalog.strategies.loading import Refused, Strategies, StrategyFileError, parse
from app.catalog.strategies.schema import DEFAULT, LearningType, Strategy, json_schema

__all__ = [
    "DEFAULT",
    "LearningType",
    "Refused",
    "Strategies",
    "Strategy",
    "StrategyFileError",
    "json_schema",
    "parse",
]
