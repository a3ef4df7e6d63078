"""`POST /feedback`: what a picture shows that the service was asked about."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field, model_validator

from app.access import Learner
from app.access.errors import WorkspaceFullError
from app.collections.dependencies import UPLOAD_ERRORS
from app.collections.errors import CollectionNotFoundError
from app.errors import InvalidInputError
from app.feedback.deciding import Reviewer
from app.feedback.decisions import Verdict
from app.feedback.dependencies import FeedbackService
from app.feedback.errors import (
    AlreadyDecidedError,
    NotDecidedError,
    NothingToConfirmError,
    PictureNotKeptError,
)
from app.feedback.schemas import FeedbackInfo
from app.http.fields import Flag, Form, LabelText
from app.http.problems import responses
from app.http.upload_forms import ReceivedForm, UploadForm
from app.storage.database import DEFAULT_COLLECTION

router = APIRouter(tags=["review"])


class FeedbackForm(Form):
    """Feedback on one picture."""

    collection: str = Field(DEFAULT_COLLECTION, description="The collection that was asked, and learns.")
    request_id: str | None = Field(
        None,
        max_length=64,
        description="In place of `image`, the `X-Request-ID` of the answer: as long as the review queue keeps its"
        " picture.",
    )
    label: LabelText | None = Field(None, description="What the picture shows; a new label is made.")
    right: Flag = Field(False, description="Whether the predicted label is right.")
    none: Flag = Field(
        False,
        description="Whether it shows none of the labels: that is counted and not taught, and what feedback had taught"
        " of the picture before is forgotten.",
    )
    undo: Flag = Field(
        False,
        description="Whether what was said of the picture is taken back: what it taught is forgotten, and it counts no"
        " more.",
    )
    replace: Flag = Field(
        False,
        description="With `label` or `right`, whether the picture loses the other labels that it has in this"
        " collection.",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> FeedbackForm:
        if [self.label is not None, self.right, self.none, self.undo].count(True) != 1:
            raise ValueError("give one of `label`, `right=true`, `none=true` and `undo=true`")
        if self.replace and (self.none or self.undo):
            raise ValueError("`replace` goes with `label` and `right`")
        return self

    @property
    def verdict(self) -> Verdict:
        """The same as what is decided by."""
        if self.label is not None:
            return Verdict("label", label=self.label, replace=self.replace)
        return Verdict("right" if self.right else "none", replace=self.replace)


UPLOAD = UploadForm(FeedbackForm, images="optional")


@router.post(
    "/feedback",
    responses=responses(
        CollectionNotFoundError,
        PictureNotKeptError,
        NothingToConfirmError,
        AlreadyDecidedError,
        NotDecidedError,
        *UPLOAD_ERRORS,
        WorkspaceFullError,
    ),
    openapi_extra=UPLOAD.openapi(),
)
async def give_feedback(
    caller: Learner,
    upload: Annotated[ReceivedForm[FeedbackForm], Depends(UPLOAD)],
    feedback: FeedbackService,
) -> FeedbackInfo:
    """Say what a picture shows that the service was asked about: it is taught before this answers, and counts for how
    often the collection is right. Saying the same again changes nothing.
    """
    form = upload.fields
    if (form.request_id is None) == (not upload.images):
        raise InvalidInputError("image, request_id: give one of the two.")
    reviewer = Reviewer(caller.workspace, caller.key_id)
    if form.request_id is None and form.undo:
        taught = await feedback.take_back(reviewer, form.collection, upload.images[0])
    elif form.request_id is None:
        taught = await feedback.give(reviewer, form.collection, upload.images[0], form.verdict)
    elif form.undo:
        taught = await feedback.take_back_by_request(reviewer, form.collection, form.request_id)
    else:
        taught = await feedback.give_by_request(reviewer, form.collection, form.request_id, form.verdict)
    return FeedbackInfo(
        example=taught.example,
        label=taught.label,
        collection=form.collection,
        collection_version=taught.collection_version,
        decision=taught.decision,
        other_labels=list(taught.other_labels),
        replaced_labels=list(taught.replaced_labels),
    )
