"""The addresses of datasets, a file for each noun."""

from fastapi import APIRouter

from app.datasets.routes import datasets, images

router = APIRouter()
for part in (datasets, images):
    router.include_router(part.router)

__all__ = ["router"]
