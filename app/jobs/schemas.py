"""Replies of `/jobs`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from app.http.bodies import Page, WholeList, with_example
from app.jobs.info import EXAMPLE_ARTIFACT, EXAMPLE_JOB, ArtifactInfo, JobInfo


class JobList(Page[JobInfo]):
    """A page of jobs, the newest first."""

    model_config = with_example({"data": [EXAMPLE_JOB], "next": None})


class JobPage(JobInfo):
    """A job with what it found and the files it left behind."""

    model_config = with_example(
        {**EXAMPLE_JOB, "result": {"evaluation": {"accuracy": 0.93}}, "artifacts": [EXAMPLE_ARTIFACT]}
    )

    result: dict[str, Any] | None = Field(description="Its evaluation and whatever else it found.")
    artifacts: list[ArtifactInfo]


class ArtifactList(WholeList[ArtifactInfo]):
    """All files of a job, by name."""

    model_config = with_example({"data": [EXAMPLE_ARTIFACT], "next": None})


class MetricSeries(BaseModel):
    """One metric's values by step."""

    name: str
    steps: list[int]
    values: list[float] = Field(description="One for each of `steps`.")
    total: int = Field(
        description="Steps it was reported for; more than are listed where it was thinned out."
    )


class MetricList(WholeList[MetricSeries]):
    """Every metric of a job, by name."""

    model_config = with_example(
        {
            "data": [{"name": "loss", "steps": [1, 2, 3], "values": [0.9, 0.6, 0.4], "total": 3}],
            "next": None,
        }
    )
