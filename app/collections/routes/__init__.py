"""The addresses of recognising and learning, a file for each noun."""

from fastapi import APIRouter

from app.collections.routes import classify, collections, embeddings, examples, health, labels, search

router = APIRouter()
for part in (classify, search, embeddings, collections, health, labels, examples):
    router.include_router(part.router)
root_router = embeddings.root_router

__all__ = ["root_router", "router"]
