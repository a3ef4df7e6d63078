"""The services that the routes of answers depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.answers.service import Answering
from app.answers.teaching import Teaching
from app.http.dependencies import find_service

AnsweringService = Annotated[Answering, Depends(find_service("answering", Answering))]
TeachingService = Annotated[Teaching, Depends(find_service("teaching", Teaching))]
