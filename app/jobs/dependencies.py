"""What the routes of jobs are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from app.http.dependencies import opened
from app.jobs.describing import Describer
from app.jobs.service import Jobs
from app.jobs.streaming import Followers
from app.storage.files import FileStore

JobService = Annotated[Jobs, Depends(opened("jobs", Jobs))]
JobDescriber = Annotated[Describer, Depends(opened("describer", Describer))]
JobFollowers = Annotated[Followers, Depends(opened("followers", Followers))]
JobFiles = Annotated[FileStore, Depends(opened("files", FileStore))]
FilePath = Annotated[str, Path(max_length=1_000, description="A file's name, as the list shows it.")]
