"""MAML and ANIL as a training method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.methods.method import Method
from app.methods.params import EpisodicParams


class MamlParams(EpisodicParams):
    """MAML (Finn et al. 2017) or ANIL (Raghu et al. 2020), whose inner loop adapts the head alone."""

    steps: int = Field(200, ge=1, le=1_000_000, description="Outer steps.")
    algorithm: Literal["anil", "maml"] = Field(
        "anil", description="What the inner loop adapts: the head, or all."
    )
    first_order: bool = Field(False, description="Leave second derivatives out (FOMAML).")
    inner_steps: int = Field(5, ge=1, le=100, description="Gradient steps of the inner loop.")
    inner_rate: float = Field(
        0.1, gt=0, le=10, description="Its learning rate for the head; a tenth of it for the projection."
    )
    tasks_per_step: int = Field(4, ge=1, le=64, description="Episodes an outer step.")


METHOD = Method(
    MamlParams,
    learns={"encoder": frozenset({"classification"})},
    trains="a starting point for a head (ANIL), or for the projection too",
    meant_for="labels that keep changing",
    position=3,
)
