"""What all replies share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ReplyModel(BaseModel):
    """A reply of the service. A newer service may send more: what is not named here stays readable as an attribute."""

    # models are built when they are first needed: a program that only classifies does not wait for the others
    model_config = ConfigDict(extra="allow", defer_build=True, protected_namespaces=())
