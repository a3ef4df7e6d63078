"""The addresses of review and feedback, a file for each noun."""

from fastapi import APIRouter

from app.feedback.routes import feedback, review

router = APIRouter()
for part in (review, feedback):
    router.include_router(part.router)

__all__ = ["router"]
