"""Puts the rooms together: `create_app` is routers, middleware, the error handler and the services' lifetime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import errors
from app.access.errors import ForeignOriginError
from app.access.routes import router as keys_router
from app.answers.routes import router as answering_router
from app.bootstrap import open_services
from app.collections.routes import root_router as embeddings_router
from app.collections.routes import router as recognition_router
from app.compat import hugging_face, inference_protocol
from app.compat.error_shapes import ERROR_TEXT_RESPONSES, ErrorShapeMiddleware, write_error_text
from app.compat.llamafarm import router as llamafarm_router
from app.compat.openai import router as openai_router
from app.datasets.routes import router as datasets_router
from app.embedded import Addresses
from app.feedback.routes import router as feedback_router
from app.http import openapi, problems
from app.http.errors import (
    HeadersTooLargeError,
    SlowUploadError,
    TooManyValuesError,
    UnsupportedMediaTypeError,
    UriTooLongError,
)
from app.http.limits import LimitsMiddleware
from app.jobs.routes import router as jobs_router
from app.models.routes import router as models_router
from app.observability.logs import configure
from app.observability.middleware import ObservabilityMiddleware
from app.operations.part import ServicePart
from app.operations.routes import VERSION
from app.operations.routes import router as platform_router
from app.page.routes import router as page_router
from app.settings import Settings
from app.storage.errors import InsufficientStorageError, StoreUnavailableError, TooManyOpenFilesError
from app.strategies.routes.hardware import router as hardware_router
from app.strategies.routes.strategies import router as strategies_router
from app.training.routes.configurations import router as configurations_router
from app.training.routes.jobs import router as training_router
from app.training.routes.models import router as model_jobs_router
from app.training.routes.preview import router as preview_router

PREFIX = "/v1"

_DESCRIPTION = """Recognises images and learns new ones: post an image and get its label, teach a label with
one image.

Images travel as `multipart/form-data`, as a raw `image/*` body, or as base64 or `data:` URIs in JSON. Every
failure is an `application/problem+json` document (RFC 9457) whose member `error` repeats it for OpenAI-style
clients; every answer carries its request's id in `X-Request-ID`.
"""

_TAGS = [
    {"name": "recognition", "description": "Classify, search and embed images."},
    {"name": "collections", "description": "Named sets of labels and the examples that taught them."},
    {
        "name": "review",
        "description": "What people say of answers: unsure pictures kept for them to decide, and feedback.",
    },
    {"name": "answering", "description": "Questions about images, captions, and examples of answers."},
    {
        "name": "jobs",
        "description": "Long-running work: training, evaluation, export and preparing datasets.",
    },
    {"name": "datasets", "description": "Many examples at once: uploaded, checked, split."},
    {"name": "models", "description": "What can recognise."},
    {
        "name": "strategies",
        "description": "Ways to learn, which of them fit, and what augmentation makes of an image.",
    },
    {"name": "keys", "description": "API keys; for administrators."},
    {
        "name": "other clients",
        "description": "The same services with the requests and replies of other APIs.",
    },
    {"name": "platform", "description": "Health, readiness and metrics of this service."},
]

# what any route under /v1 may answer besides what it states itself
_EVERYWHERE = problems.responses(
    errors.BadRequestError,
    errors.UnauthorizedError,
    errors.ForbiddenError,
    ForeignOriginError,
    SlowUploadError,
    errors.TooLargeError,
    TooManyValuesError,
    UriTooLongError,
    UnsupportedMediaTypeError,
    errors.InvalidInputError,
    HeadersTooLargeError,
    errors.OverloadedError,
    StoreUnavailableError,
    TooManyOpenFilesError,
    InsufficientStorageError,
)


_ERROR_SHAPES = {hugging_face.PREFIX: write_error_text, inference_protocol.PREFIX: write_error_text}


def create_app(settings: Settings, addresses: Addresses, part: ServicePart | None = None) -> FastAPI:
    """The service, or that part of it, over the databases at `addresses`, which are migrated already.

    Starting it raises `BindRefusedError` where it would listen beyond this machine without a key.
    """
    part = part or ServicePart.whole(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure(settings)
        async with open_services(settings, addresses, part) as services:
            app.state.services = services
            yield

    app = FastAPI(
        title="llamafarm-vision",
        version=VERSION,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        openapi_url=None,  # served by app.operations.routes, which guards it and keeps it off other people's networks
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.install(app)
    app.add_middleware(LimitsMiddleware, settings=settings, uploads=part.tallies.get("uploads"))
    app.add_middleware(ObservabilityMiddleware, metrics=part.metrics)  # added last, so outermost
    app.add_middleware(ErrorShapeMiddleware, shapes=_ERROR_SHAPES)  # outside of whatever may fail
    app.include_router(
        page_router
    )  # before the platform's `/`, which answers clients that do not ask for HTML
    app.include_router(platform_router)
    for router in (
        recognition_router,
        feedback_router,
        answering_router,
        training_router,
        jobs_router,
        configurations_router,
        datasets_router,
        model_jobs_router,
        hardware_router,
        models_router,
        strategies_router,
        preview_router,
        keys_router,
        openai_router,
        llamafarm_router,
    ):
        app.include_router(router, prefix=PREFIX, responses=_EVERYWHERE)
    app.include_router(embeddings_router, responses=_EVERYWHERE)
    for router in (hugging_face.router, inference_protocol.router):
        app.include_router(router, responses=ERROR_TEXT_RESPONSES)
    app.openapi = lambda: openapi.build(app)  # type: ignore[method-assign]
    return app
