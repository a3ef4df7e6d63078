"""`/collections/{c}/labels/{label}`: labels get another name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from app.access import Learner
from app.collections.dependencies import CollectionPath, LearningService
from app.collections.errors import CollectionNotFoundError, LabelExistsError, LabelNotFoundError
from app.collections.routes.relabelling_schemas import LabelChange, RenamedLabel
from app.http.dependencies import AppSettings
from app.http.names import label_name
from app.http.problems import responses

router = APIRouter(prefix="/collections/{collection}/labels", tags=["collections"])

# `path`, since a label may have a slash in it
LabelPath = Annotated[str, Path(description="A label of the collection.", examples=["mug"])]


@router.patch(
    "/{label:path}", responses=responses(CollectionNotFoundError, LabelNotFoundError, LabelExistsError)
)
async def rename_label(
    caller: Learner,
    collection: CollectionPath,
    label: LabelPath,
    wanted: LabelChange,
    settings: AppSettings,
    learning: LearningService,
) -> RenamedLabel:
    """Give a label another name; its examples and its description stay."""
    most = settings.limits.max_text_chars
    found, version = await learning.rename_label(
        caller.workspace,
        collection,
        label_name(label, most),
        label_name(wanted.name, most, "name"),
        merge=wanted.merge,
    )
    return RenamedLabel(
        label=found.label,
        description=found.description,
        examples=found.examples,
        removed=list(found.removed),
        collection_version=version,
    )
