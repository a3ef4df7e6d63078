"""LlamaFarm's runtime: what its server and its Designer call, recognising and reviewing."""

from fastapi import APIRouter

from app.compat.llamafarm import review, routes

router = APIRouter()
for part in (routes, review):
    router.include_router(part.router)

__all__ = ["router"]
