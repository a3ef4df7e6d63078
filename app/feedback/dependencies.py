"""What the routes of review and feedback are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.feedback.deciding import DecisionService
from app.feedback.giving import Feedback
from app.feedback.service import Review
from app.http.dependencies import find_service

ReviewService = Annotated[Review, Depends(find_service("review", Review))]
DecidingService = Annotated[DecisionService, Depends(find_service("deciding", DecisionService))]
FeedbackService = Annotated[Feedback, Depends(find_service("feedback", Feedback))]
