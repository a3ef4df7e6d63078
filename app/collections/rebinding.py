"""Binds a collection to another encoder: a job embeds every example again, then swaps."""

from __future__ import annotations

from dataclasses import dataclass

from app.collections.directory import KnownCollection
from app.errors import ConflictError
from app.jobs.service import Job, Jobs
from app.jobs.spec import DataRef, JobSpec, ResolvedJob
from app.models.resolver import ModelResolver


@dataclass(eq=False)
class Rebinding:
    """Jobs that bind collections to other encoders."""

    models: ModelResolver
    jobs: Jobs

    async def reembed(self, workspace: str, known: KnownCollection, name: str) -> Job:
        """Queue embedding a collection again by the encoder of that name or alias, and then the swap. The job loads it:
        what goes wrong then is the job's error.

        Raises ModelNotFoundError, and ConflictError where it is bound to that encoder, or a job of this kind is
        open, already.
        """
        encoder = self.models.get_encoder(name)
        shown = self.models.name_for_clients(encoder)
        if shown == self.models.name_for_clients(known.encoder):
            raise ConflictError(f"The collection '{known.name}' is bound to the encoder '{shown}' already.")
        open_one = await self.jobs.find_open_job(workspace, "reembed", known.id)
        if open_one is not None:
            raise ConflictError(
                f"The job {open_one} is binding '{known.name}' to another encoder: wait for it, or cancel it."
            )
        spec = JobSpec(
            kind="reembed", base_model=encoder, base_kind="encoder", data=DataRef(collection=known.id)
        )
        return await self.jobs.queue(workspace, ResolvedJob(spec, "cpu"))
