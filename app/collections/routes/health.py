"""`GET /collections/{c}/health`: what may be wrong with a collection's examples."""

from __future__ import annotations

import uuid

from fastapi import APIRouter

from app.access import Recogniser
from app.collections.dependencies import MODEL_ERRORS, CollectionPath, RecognitionService
from app.collections.errors import CollectionNotFoundError
from app.collections.routes.health_schemas import (
    CollectionHealth,
    LabelHealth,
    NearDuplicate,
    OverlappingLabels,
    SmallLabel,
    Suspect,
)
from app.collections.schemas import image_url
from app.http.dependencies import AppSettings
from app.http.paging import Limit, page_size
from app.http.problems import responses

router = APIRouter(prefix="/collections/{collection}/health", tags=["collections"])


@router.get("", responses=responses(CollectionNotFoundError, *MODEL_ERRORS))
async def get_health(
    caller: Recogniser,
    collection: CollectionPath,
    recognition: RecognitionService,
    settings: AppSettings,
    limit: Limit = None,
) -> CollectionHealth:
    """Show what may be wrong with a collection's examples: those whose label the others contradict when each is left
    out, those that are nearly the same picture, labels that overlap or have few examples, and how well each is
    recognised.
    """
    found = await recognition.examine(
        caller.workspace, collection, page_size(limit, settings), settings.limits.max_compared_examples
    )

    def place(example_id: uuid.UUID) -> str:
        return image_url(collection, example_id)

    return CollectionHealth(
        collection=collection,
        examples=found.examples,
        examined=found.examined,
        suspects=[Suspect(**vars(suspect), image=place(suspect.id)) for suspect in found.suspects],
        suspects_total=found.suspects_total,
        labels=[LabelHealth(**vars(label)) for label in found.labels],
        labels_total=found.labels_total,
        near_duplicates=[
            NearDuplicate(**vars(pair), images=(place(pair.examples[0]), place(pair.examples[1])))
            for pair in found.near_duplicates
        ],
        near_duplicates_total=found.near_duplicates_total,
        overlapping_labels=[OverlappingLabels(**vars(pair)) for pair in found.overlapping_labels],
        overlapping_labels_total=found.overlapping_labels_total,
        small_labels=[SmallLabel(label=label.label, examples=label.examples) for label in found.small_labels],
        small_labels_total=found.small_labels_total,
        notes=found.notes,
    )
