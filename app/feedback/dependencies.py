"""What the routes of review and feedback are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.feedback.deciding import Deciding
from app.feedback.giving import Feedback
from app.feedback.service import Review
from app.http.dependencies import find_service

ReviewService = Annotated[Review, Depends(find_service("review", Review))]
DecidingService = Annotated[Deciding, Depends(find_service("deciding", Deciding))]
FeedbackService = Annotated[Feedback, Depends(find_service("feedback", Feedback))]
