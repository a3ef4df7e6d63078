"""The services that the routes of review and feedback depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.feedback.deciding import Decisions
from app.feedback.giving import Feedback
from app.feedback.service import ReviewQueue
from app.http.dependencies import find_service

ReviewService = Annotated[ReviewQueue, Depends(find_service("review", ReviewQueue))]
DecisionService = Annotated[Decisions, Depends(find_service("decisions", Decisions))]
FeedbackService = Annotated[Feedback, Depends(find_service("feedback", Feedback))]
