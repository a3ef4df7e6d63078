"""`POST /search`: the stored examples nearest to an image or a text."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from app.access import Recogniser
from app.collections.dependencies import UPLOAD_ERRORS, RecognitionService
from app.collections.errors import CollectionNotFoundError
from app.collections.schemas import SearchResult, to_hit
from app.errors import InvalidInputError
from app.http.disconnect import unless_disconnected
from app.http.fields import Form, at_most
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.storage.database import DEFAULT_COLLECTION

router = APIRouter(tags=["recognition"])


class SearchForm(Form):
    """What to look for, and where."""

    text: Annotated[str, at_most(lambda settings: settings.limits.max_text_chars, "characters")] | None = (
        Field(None, description="What to look for, instead of an image.")
    )
    collection: str = DEFAULT_COLLECTION
    top_k: Annotated[int, at_most(lambda settings: settings.limits.max_page)] = Field(
        10, ge=1, description="Most examples in the answer."
    )


UPLOAD = UploadForm(SearchForm, images="optional", or_text="text")


@router.post(
    "/search",
    responses=responses(CollectionNotFoundError, *UPLOAD_ERRORS),
    openapi_extra=UPLOAD.openapi(),
)
async def search(
    request: Request,
    caller: Recogniser,
    upload: Annotated[ReceivedForm[SearchForm], Depends(UPLOAD)],
    recognition: RecognitionService,
) -> SearchResult:
    """Find the examples of a collection that look like an image, or like what a text says."""
    form = upload.fields
    if (form.text is None) == (not upload.images):
        raise InvalidInputError("image, text: send exactly one image or one text.")
    found, model = await unless_disconnected(
        request,
        recognition.search(caller.workspace, form.collection, upload.images, form.text, form.top_k),
    )
    hits = [to_hit(form.collection, *near) for near in found]
    return SearchResult(data=hits, model=model, collection=form.collection)
