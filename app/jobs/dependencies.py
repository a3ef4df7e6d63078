"""The services that the routes of jobs depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from app.http.dependencies import find_service
from app.jobs.describing import Describer
from app.jobs.service import Jobs
from app.jobs.streaming import Followers
from app.storage.files import FileStore

JobService = Annotated[Jobs, Depends(find_service("jobs", Jobs))]
JobDescriber = Annotated[Describer, Depends(find_service("describer", Describer))]
JobFollowers = Annotated[Followers, Depends(find_service("followers", Followers))]
JobFiles = Annotated[FileStore, Depends(find_service("files", FileStore))]
FilePath = Annotated[str, Path(max_length=1_000, description="A file's name, as the list shows it.")]
