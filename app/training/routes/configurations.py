"""`/configurations`: what a training run in one document may hold, and whether one is right, before data is sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from pydantic import Field

from app import errors
from app.access import Caller, require
from app.http.problems import responses
from app.inference.errors import ModelNotFoundError
from app.training import config
from app.training.config import EXAMPLE, MultimodalConfig
from app.training.config_notes import FieldNote
from app.training.dependencies import TrainingService

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


class CheckedConfiguration(MultimodalConfig):
    """A configuration that is right, and what it asks for in vain."""

    warnings: list[FieldNote] = Field(
        description="Fields that have no effect for the chosen model, or another than their value seems to ask for."
    )


@router.post("/check", responses=responses(ModelNotFoundError, errors.InvalidInputError))
async def check_configuration(
    caller: Reader, document: Annotated[dict[str, Any], Body(examples=[EXAMPLE])], training: TrainingService
) -> CheckedConfiguration:
    """Say whether a configuration is right, every wrong field by name; the configuration with its defaults, and which
    of its fields have no effect for the model that it names.

    A model that is not at hand is refused here already. Whether the data fit it, `POST /jobs` says.
    """
    found = config.parse(document)
    notes = await training.configurations.check(found)
    return CheckedConfiguration(
        **{name: getattr(found, name) for name in found.model_fields_set}, warnings=notes
    )
