"""Model families: the table of those that this process knows, each one object (`app.inference.family.Family`).

A folder here is a family, by the `FAMILY` of its `__init__`; a distribution adds its own by an entry point of the
group `llamafarm_vision.families`. Nothing of torch or transformers is imported before something is loaded.
"""

from __future__ import annotations

from app.families.table import FAMILIES, Families
from app.inference.family import Family

__all__ = ["DEFAULT_ENCODER", "FAMILIES", "Families", "register_vision_model"]

DEFAULT_ENCODER = "lite"
"""The encoder of jobs that name none."""


def register_vision_model(name: str, family: Family) -> None:
    """Add a model family to this process: its models are then served, taught, trained and exported like any other.

    Raises ValueError where the name is taken or is not the family's own. A worker is a process of its own: what all
    of them shall know comes by an entry point of the group `llamafarm_vision.families`.
    """
    FAMILIES.register(name, family)
