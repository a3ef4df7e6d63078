"""The closed-form head as a training method."""

from __future__ import annotations

from app.methods.method import Method
from app.methods.params import Params, SharesParams


class HeadParams(SharesParams, Params):
    """The closed-form head alone, published as a model."""


METHOD = Method(
    HeadParams,
    learns={"encoder": frozenset({"classification"})},
    trains="nothing; the closed-form head becomes a model",
    meant_for="the same answers in a file, with figures",
    position=0,
)
