"""`/models`: what there is, what was trained, its files; models come in and go."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import IntegrityError

from app import errors
from app.access import Recogniser, Trainer
from app.access.errors import WorkspaceFullError
from app.access.quota import check_room_for_body
from app.errors import ConflictError
from app.http.dependencies import AppSettings
from app.http.disconnect import unless_disconnected
from app.http.errors import SlowUploadError, UnsupportedMediaTypeError
from app.http.fields import Form
from app.http.names import collection_of
from app.http.problems import responses
from app.http.upload_forms import ArchiveForm, ReceivedArchive
from app.inference.errors import ModelNotFoundError
from app.jobs import streaming
from app.jobs.dependencies import FilePath, JobFiles
from app.jobs.errors import ArtifactNotFoundError
from app.models import aliases, describing, uploads
from app.models.dependencies import CollectionsByName, Models, Registry, TrainedModelService
from app.models.errors import ModelExistsError
from app.models.schemas import Model, ModelFile, ModelFiles, ModelList
from app.models.service import ModelRecord, TrainedModels
from app.models.trial import try_model
from app.settings import Settings
from app.storage.errors import ArchiveError

router = APIRouter(prefix="/models", tags=["models"])

ModelPath = Annotated[str, Path(alias="model", max_length=200, description="Id of a model.")]
_NOT_FOUND = responses(ModelNotFoundError)
UPLOAD = ArchiveForm(Form, "A zip, tar, tar.gz, tar.bz2 or tar.xz of a model's folder.")


@router.get("")
async def list_models(
    caller: Recogniser,
    settings: AppSettings,
    trained: TrainedModelService,
    registry: Registry,
    collections: CollectionsByName,
) -> ModelList:
    """List the models, the default first, then those trained here, the newest first; then other names (`alias_of`)."""
    found = [await _describe(settings, trained, model) for model in await trained.all(caller.workspace)]
    known = describing.list_known(registry)
    named = [
        aliases.describe_collection(collection, known)
        for collection in await collections.all(caller.workspace)
    ]
    return ModelList(data=[*known, *found, *named, *aliases.list_embedders(known)])


@router.post(
    "",
    status_code=201,
    responses=responses(
        SlowUploadError,
        errors.TooLargeError,
        WorkspaceFullError,
        UnsupportedMediaTypeError,
        ArchiveError,
        errors.CheckLimitError,
        ModelExistsError,
        errors.OverloadedError,
    ),
    openapi_extra=UPLOAD.openapi(),
    dependencies=[Depends(check_room_for_body)],
)
async def upload_model(
    request: Request,
    response: Response,
    caller: Trainer,
    upload: Annotated[ReceivedArchive[Form], Depends(UPLOAD)],
    settings: AppSettings,
    trained: TrainedModelService,
    registry: Registry,
    models: Models,
) -> Model:
    """Upload a model that was trained elsewhere: the files that a training job publishes, as an archive."""
    model = await unless_disconnected(request, uploads.check_upload(upload.path, settings))
    card = model.card
    await asyncio.to_thread(
        upload.path.unlink
    )  # unpacked by now: the disk need not hold it beside two copies of the model
    try:
        uploads.check_base(card, models)
        if await models.is_taken(caller.workspace, card.id):
            raise ModelExistsError(f"There is a model '{card.id}' already.")
        await unless_disconnected(request, try_model(model, registry, settings))
        try:
            made = await trained.publish(caller.workspace, card, model.folder)
        except IntegrityError:
            raise ModelExistsError(f"There is a model '{card.id}' already.") from None
    finally:
        await asyncio.to_thread(uploads.discard, model)
    response.headers["Location"] = f"/v1/models/{made.card.id}"
    return await _describe(settings, trained, made)


@router.get("/{model}", responses=_NOT_FOUND)
async def get_model(
    caller: Recogniser, model: ModelPath, settings: AppSettings, trained: TrainedModelService, models: Models
) -> Model:
    """Show one model."""
    found = await models.find(caller.workspace, model)
    if isinstance(found, ModelRecord):
        return await _describe(settings, trained, found)
    return aliases.name_embedder(describing.describe_known(found), model)


@router.delete("/{model}", status_code=204, responses=responses(ModelNotFoundError, errors.ConflictError))
async def delete_model(
    caller: Trainer, model: ModelPath, trained: TrainedModelService, models: Models
) -> Response:
    """Forget a trained model, its files and what it takes in memory."""
    if not isinstance(await models.find(caller.workspace, model), ModelRecord):
        raise ConflictError("Models that come with the service cannot be removed.")
    await trained.delete(caller.workspace, model)
    return Response(status_code=204)


@router.get("/{model}/artifacts", responses=_NOT_FOUND)
async def list_model_files(
    caller: Recogniser, model: ModelPath, trained: TrainedModelService, models: Models
) -> ModelFiles:
    """List a trained model's files and whatever was made of it since: evaluations, exports."""
    rows = await trained.artifacts(caller.workspace, model)
    if not rows:
        await models.find(caller.workspace, model)
    return ModelFiles(data=[ModelFile.of(file, f"/v1/models/{model}") for file in rows])


@router.get(
    "/{model}/artifacts/{file:path}",
    response_class=StreamingResponse,
    responses=responses(ModelNotFoundError, ArtifactNotFoundError),
)
async def get_model_file(
    caller: Recogniser,
    model: ModelPath,
    file: FilePath,
    files: JobFiles,
    trained: TrainedModelService,
) -> StreamingResponse:
    """Download one file."""
    if "\0" in file:
        raise ArtifactNotFoundError
    found = await trained.artifact(caller.workspace, model, file)
    return await streaming.download(files, found)


@router.get("/{owner}/{name:path}", responses=_NOT_FOUND, include_in_schema=False)
async def get_model_by_path(
    caller: Recogniser,
    owner: str,
    name: str,
    settings: AppSettings,
    trained: TrainedModelService,
    registry: Registry,
    models: Models,
    collections: CollectionsByName,
) -> Model:
    """Show a model by its hub id, or a collection as a model; the slash may come as `%2F`."""
    named = f"{owner}/{name}"
    if (collection := collection_of(named)) is not None:
        found = await collections.find(caller.workspace, collection)
        return aliases.describe_collection(found, describing.list_known(registry))
    return await get_model(caller, named, settings, trained, models)


async def _describe(settings: Settings, trained: TrainedModels, model: ModelRecord) -> Model:
    live = trained.live(model)
    return await asyncio.to_thread(describing.describe, model, settings, live)
