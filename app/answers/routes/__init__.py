"""The addresses of answering, a file for each noun."""

from fastapi import APIRouter

from app.answers.routes import answers, questions

router = APIRouter()
for part in (questions, answers):
    router.include_router(part.router)

__all__ = ["router"]
