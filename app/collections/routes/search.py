"""`POST /search`: the stored examples nearest to an image or a text.

Knows the fields and their bounds; knows nothing of indexes.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.collections.dependencies import UPLOAD_ERRORS, Recogniser, RecognitionService, Uploaded
from app.collections.errors import CollectionNotFoundError
from app.collections.schemas import Hit, SearchResult, image_url
from app.errors import InvalidInputError
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.openapi import upload_body
from app.http.problems import responses
from app.storage.database import DEFAULT_COLLECTION

router = APIRouter(tags=["recognition"])

_FIELDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "description": "What to look for, instead of an image."},
    "collection": {"type": "string", "default": DEFAULT_COLLECTION},
    "top_k": {"type": "integer", "minimum": 1, "default": 10, "description": "Most examples in the answer."},
}


@router.post(
    "/search",
    responses=responses(CollectionNotFoundError, *UPLOAD_ERRORS),
    openapi_extra=upload_body(_FIELDS, several=False, required=()),
)
async def search(
    request: Request,
    caller: Recogniser,
    upload: Uploaded,
    settings: AppSettings,
    recognition: RecognitionService,
) -> SearchResult:
    """Find the examples of a collection that look like an image, or like what a text says."""
    upload.only(*_FIELDS)
    text = upload.text("text")
    if (text is None) == (not upload.images) or len(upload.images) > 1:
        raise InvalidInputError("image, text: send exactly one image or one text.")
    if text is not None and len(text) > settings.max_text_chars:
        raise InvalidInputError(f"text: it has at most {settings.max_text_chars} characters.")
    top_k = upload.whole("top_k")
    if top_k is not None and not 1 <= top_k <= settings.max_page:
        raise InvalidInputError(f"top_k: it lies between 1 and {settings.max_page}.")
    collection = upload.text("collection") or DEFAULT_COLLECTION
    found, model = await unless_disconnected(
        request,
        recognition.search(caller.workspace, collection, upload.images, text, top_k or 10),
    )
    hits = [
        Hit(id=one, label=label, similarity=cosine, image=image_url(collection, one))
        for one, label, cosine in found
    ]
    return SearchResult(data=hits, model=model, collection=collection)
