"""Requests for jobs."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from app.http.bodies import RequestBody, with_example
from app.http.names import MODEL_NAME, CollectionName
from app.training.config import MultimodalConfig


class JobRequest(RequestBody):
    """A job to be made."""

    model_config = with_example({"strategy": "lite_fewshot", "collection": "mugs", "params": {"steps": 200}})

    strategy: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="How to train, one of `/strategies`; or send `config`."
    )
    config: MultimodalConfig | None = Field(
        None, description="A whole training run in one document, in a strategy's place; docs/many-shot.md."
    )
    collection: CollectionName | None = Field(
        None, description="Learn from this collection's examples; `default` where no dataset is named either."
    )
    dataset: uuid.UUID | None = Field(None, description="Learn from this dataset instead.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Hyper-parameters that differ from the strategy's."
    )
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="Train this one of `/models` instead of the strategy's."
    )
    name: Annotated[str, StringConstraints(pattern=f"^{MODEL_NAME}$")] | None = Field(
        None, description="What the model shall be called; lower-case letters, digits, '.', '_' and '-'."
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="The same seed on the same machine gives the same model."
    )

    @model_validator(mode="after")
    def _check_one_source(self) -> JobRequest:
        if (self.strategy is None) == (self.config is None):
            raise ValueError("name a strategy, or send a config")
        return self
