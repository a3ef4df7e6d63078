"""`/configurations`: what a training run in one document may hold, and whether one is right, before anything is sent.

Knows the document's schema; starts nothing and looks at no data.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from app.access import Caller, require
from app.training import config
from app.training.config import EXAMPLE, MultimodalConfig
from app.training.params import checked

router = APIRouter(prefix="/configurations", tags=["jobs"])

Reader = Annotated[Caller, Depends(require("recognise"))]
_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "MultimodalConfig",
    "type": "object",
    "properties": {"type": {"enum": ["image_classification", "visual_qa"], "type": "string"}},
    "required": ["type"],
}


@router.get(
    "/schema",
    response_model=dict[str, Any],
    responses={200: {"content": {"application/json": {"example": _SCHEMA}}}},
)
async def configuration_schema(caller: Reader) -> dict[str, Any]:
    """The JSON Schema of a configuration, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **MultimodalConfig.model_json_schema(),
    }


@router.post("/check")
async def check_configuration(
    caller: Reader, document: Annotated[dict[str, Any], Body(examples=[EXAMPLE])]
) -> MultimodalConfig:
    """Say whether a configuration is right, every wrong field by name; the configuration with its defaults.

    Whether the data fit it, `POST /jobs` says.
    """
    found = config.parse(document)
    named = found.training_args.method
    if named is not None:
        checked(named, found.params_for(named))
    return found
