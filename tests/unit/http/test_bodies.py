"""Flags and whole numbers of JSON bodies keep their type, on each request of this service's own calls."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.access.schemas import KeyRequest
from app.collections.changes import CollectionChange
from app.collections.routes.relabelling_schemas import ExamplesChange, LabelChange
from app.http.wrong_fields import complaints
from app.strategies.schemas import RecommendRequest
from app.training.schemas import JobRequest

ID = "8a0f4c3e-7d55-4b61-9c0e-2f6f6a1c9d10"


@pytest.mark.parametrize(
    ("body", "sent", "says"),
    [
        (ExamplesChange, {"ids": [ID], "delete": "yes"}, "delete: it must be true or false"),
        (ExamplesChange, {"ids": [ID], "delete": 1}, "delete: it must be true or false"),
        (LabelChange, {"name": "mug", "merge": "on"}, "merge: it must be true or false"),
        (JobRequest, {"strategy": "x", "seed": "7"}, "seed: it must be a whole number"),
        (JobRequest, {"strategy": "x", "seed": True}, "seed: it must be a whole number"),
        (KeyRequest, {"name": "x", "expires_in_days": "3"}, "expires_in_days: it must be a whole number"),
        (RecommendRequest, {"dataset_size": True}, "dataset_size: it must be a whole number"),
        (CollectionChange, {"review": {"keep": True}}, "keep: it must be a whole number"),
        (LabelChange, {"name": "mug", "other": 1}, "other: there is no such field"),
    ],
)
def test_another_type_is_refused_by_name(body: type[BaseModel], sent: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        body.model_validate(sent)
    assert says in complaints(refused.value.errors())


def test_their_own_types_are_taken() -> None:
    assert ExamplesChange.model_validate({"ids": [ID], "delete": True}).delete
    assert KeyRequest.model_validate({"name": "x", "expires_in_days": None}).expires_in_days is None
    assert JobRequest.model_validate({"strategy": "x", "seed": 7}).seed == 7
    assert JobRequest.model_validate({"strategy": "x", "seed": 7.0}).seed == 7, "JSON has one kind of number"
