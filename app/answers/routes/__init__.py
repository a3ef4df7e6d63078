"""The addresses of answering, a file for each noun.

Knows how to parse and what to call; what happens is in `service` and `teaching`.
"""

from fastapi import APIRouter

from app.answers.routes import answers, questions

router = APIRouter()
for part in (questions, answers):
    router.include_router(part.router)

__all__ = ["router"]
