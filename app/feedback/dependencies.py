"""What the routes of review and feedback are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.feedback.deciding import Deciding
from app.feedback.giving import Feedback
from app.feedback.service import Review
from app.http.dependencies import opened

ReviewService = Annotated[Review, Depends(opened("review", Review))]
DecidingService = Annotated[Deciding, Depends(opened("deciding", Deciding))]
FeedbackService = Annotated[Feedback, Depends(opened("feedback", Feedback))]
