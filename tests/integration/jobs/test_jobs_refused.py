"""Jobs before they are queued: what is refused, which model is taken, what is remarked."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from app.bootstrap import Services
from app.errors import InvalidInputError
from app.jobs.errors import NotTrainableError
from app.jobs.spec import DataRef, ResolvedJob
from app.training.bases import BaseModels
from app.training.learning_data import LearningData
from app.training.resolving import TrainingOptions, default_name, merge_params, queue_of, resolve_job
from tests import shapes
from tests.jobs import train
from tests.learning import get_json, make, picture, teach


async def test_what_cannot_be_trained_is_refused_before_it_is_queued(client: httpx.AsyncClient) -> None:
    async def refusal(status: int = 422, **body: Any) -> str:
        reply = await client.post("/v1/jobs", json={"strategy": "lite_fewshot", **body})
        assert reply.status_code == status, reply.text
        return str(reply.json()["detail"])

    assert "no labelled examples" in await refusal()
    await teach(client, "mug", *[picture(i) for i in range(5)])
    assert "only one label" in await refusal()
    await teach(client, "plate", picture(9))
    assert "'plate' has only one" in await refusal(strategy="prototypical_fewshot")
    assert "needs no training" in await refusal(strategy="lite_oneshot")
    assert "/v1/collections/default/examples" in await refusal(strategy="clip_oneshot")
    assert "no examples of answers" in await refusal(strategy="blip_caption")
    assert "cannot learn answers or labels: take blip-shapes-vqa" in await refusal(
        strategy="blip_vqa", base_model="blip-shapes-caption"
    )
    assert "params.rank" in await refusal(params={"rank": 0, "validation_share": 0})
    assert "params.nothing" in await refusal(params={"nothing": 1, "validation_share": 0})
    assert "no strategy" in await refusal(404, strategy="nothing")
    assert "no collection" in await refusal(404, collection="nowhere")
    assert "There is no dataset" in await refusal(404, dataset=str(uuid.uuid4()))
    assert "name one" in await refusal(collection="default", dataset=str(uuid.uuid4()))
    free = {"validation_share": 0}
    assert "family 'clip'" in await refusal(strategy="clip_fewshot_lora", params=free)
    assert "bound to the encoder 'lite'" in await refusal(409, base_model="clip-tiny", params=free)
    assert "no model" in await refusal(404, base_model="google/anything", params=free)
    assert "already" in await refusal(409, name="lite", params=free)
    assert "name" in await refusal(name="A/B", params=free)
    assert (await get_json(client, "/v1/jobs"))["data"] == []


async def test_few_answers_are_refused_and_the_service_names_the_model(client: httpx.AsyncClient) -> None:
    for number in range(2):
        assert (await client.post("/v1/jobs", json={"strategy": "llava_fewshot"})).status_code == 422
        reply = await client.post(
            "/v1/collections/default/answers",
            data={"question": "how many corners?", "answer": str(number)},
            files={"image": shapes.data(number)},
        )
        assert reply.status_code == 201
    job = await train(client, {"strategy": "visual_qa_fewshot"})
    assert (job["strategy"], job["task"], job["base_model"]) == ("llava_fewshot", "vqa", "llava-shapes")
    wrong = await client.post("/v1/jobs", json={"strategy": "llava_fewshot", "base_model": "blip-shapes-vqa"})
    assert wrong.status_code == 422
    assert "family 'llava'" in wrong.json()["detail"]


async def test_a_collection_on_a_clip_trains_clip(client: httpx.AsyncClient) -> None:
    await make(client, "tiny", "clip-tiny")
    for label, seed in (("mug", 1), ("plate", 5)):
        await teach(client, label, picture(seed), picture(seed + 1), collection="tiny")
    job = await train(client, {"strategy": "clip_fewshot_lora", "collection": "tiny"})
    assert (job["base_model"], job["params"]["rank"]) == ("clip-tiny", 2)


def test_amounts_and_hardware_are_weighed(services: Services) -> None:
    bases = BaseModels(services.models)
    strategies = services.strategies

    def of(
        strategy: str, *counts: int, answers: int = 0, base_model: str | None = None, **params: Any
    ) -> ResolvedJob:
        data = LearningData(
            DataRef(collection=uuid.uuid4()),
            "the collection 'A.b'",
            "a.b",
            frozenset({"classification", "vqa"}),
            labels={f"label {number}": count for number, count in enumerate(counts)},
            answers=answers,
        )
        recipe = strategies.get(strategy)
        if strategy == "custom_manyshot":
            model = recipe.model.model_copy(update={"base_models": ["clip", "lite"]})
            recipe = recipe.model_copy(update={"model": model})
        return resolve_job(recipe, data, TrainingOptions(params, base_model), bases)

    usual = of("lite_fewshot", 10, 10)
    assert (usual.queue, usual.warnings, usual.spec.model) == ("cpu", (), "a.b-lite-fewshot")
    (remark,) = of("lite_fewshot", 4000, 4000).warnings
    assert "8000 examples" in remark
    (remark,) = of("lite_fewshot", 1, 4).warnings
    assert "'label 0' (1)" in remark
    assert "leave these labels out" in remark
    assert "not judged" in of("lite_fewshot", 1, 2).warnings[0]
    with pytest.raises(NotTrainableError, match="at least 50 examples"):
        of("custom_manyshot", 20, 20)
    with pytest.raises(InvalidInputError, match="question"):
        of("lite_fewshot", 10, 10, question="What is this?")
    for base in ("clip", "clip-tiny", "lite"):  # by its family, by its own name
        assert of("custom_manyshot", 100, 100, base_model=base).spec.base_kind == "encoder"
    with pytest.raises(NotTrainableError, match="trains clip, lite, not 'llava-shapes'"):
        of("custom_manyshot", 100, 100, base_model="llava-shapes")
    assert of("custom_manyshot", 100, 100, processes=2).queue == "multi-gpu"
    with pytest.raises(NotTrainableError, match="compares examples of a label"):
        of("prototypical_fewshot", 9, 1, validation_share=0)
    assert of("siamese_oneshot", 1, 1).spec.method == "siamese"
    large = strategies.get("llava_fewshot").model.larger[0]
    assert large.gpu_memory_gb
    assert queue_of({}, large.gpu_memory_gb) == "gpu"
    assert default_name("x" * 200, "lite_fewshot").endswith("-lite-fewshot")
    assert len(default_name("x" * 200, "lite_fewshot")) <= 63
    assert merge_params({"steps": 1, "lora": {"rank": 2, "alpha": 3}}, {"lora": {"rank": 4}}) == {
        "steps": 1,
        "lora": {"rank": 4, "alpha": 3},
    }
