"""What the routes of review and feedback are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.feedback.decisions import DecisionService
from app.feedback.giving import FeedbackService
from app.feedback.service import ReviewQueue
from app.http.dependencies import find_service

ReviewService = Annotated[ReviewQueue, Depends(find_service("review", ReviewQueue))]
ReviewDecisions = Annotated[DecisionService, Depends(find_service("decisions", DecisionService))]
FeedbackService = Annotated[FeedbackService, Depends(find_service("feedback", FeedbackService))]
