"""What the service says of its models and of the machine."""

from __future__ import annotations

import httpx

from tests.conftest import ClientMaker
from tests.learning import get_json, picture


async def test_models_are_listed_the_default_first(client: httpx.AsyncClient) -> None:
    listed = await get_json(client, "/v1/models")
    assert listed["next"] is None
    first = listed["data"][0]
    assert (first["id"], first["default"], first["loaded"], first["kind"]) == ("lite", True, True, "encoder")
    assert first["dim"] == 1472
    assert first["memory_mb"] > 1
    assert "clip-tiny" in [model["id"] for model in listed["data"]]
    assert not any("/" in model["id"] for model in listed["data"])


async def test_a_loaded_model_shows_how_boldly_it_runs(client: httpx.AsyncClient) -> None:
    found = (await get_json(client, "/v1/models/lite"))["optimisation"]
    assert set(found) == {"asked", "level", "speed_up", "parity", "note"}
    assert found["asked"] == "auto"
    assert found["level"] in {"none", "basic"}
    assert found["level"] == "none" or found["parity"] >= 0.99


async def test_one_model_is_shown(client: httpx.AsyncClient) -> None:
    listed = await get_json(client, "/v1/models")
    for model in listed["data"]:
        assert (await get_json(client, f"/v1/models/{model['id']}"))["family"] == model["family"]
    for name in ("nothing", "..%2f", "%00", "etc"):
        reply = await client.get(f"/v1/models/{name}")
        assert reply.status_code == 404


async def test_the_machine_is_described(client: httpx.AsyncClient) -> None:
    machine = await get_json(client, "/v1/hardware")
    assert machine["cpu"]["cores"] >= 1
    assert machine["cpu"]["name"]
    assert 0 < machine["memory"]["available_mb"] <= machine["memory"]["total_mb"]
    assert machine["device"] in ["cpu", *(f"cuda:{gpu['index']}" for gpu in machine["gpus"])]


async def test_a_key_that_may_only_teach_does_not_look(make_client: ClientMaker) -> None:
    teacher = await make_client(scopes=["learn"])
    for path in ("/v1/models", "/v1/models/lite", "/v1/hardware"):
        assert (await teacher.get(path)).status_code == 403


async def test_a_name_that_nearly_means_a_model_is_answered_with_that_one(client: httpx.AsyncClient) -> None:
    """The same sentence whatever is asked of the model."""
    image = {"image": ("a.png", picture(3), "image/png")}
    replies = {
        "'lite'": [
            await client.get("/v1/models/litte"),
            await client.delete("/v1/models/litte"),
            await client.get("/v1/models/litte/artifacts"),
            await client.post("/v1/models/litte/export", json={"format": "onnx"}),
            await client.post("/v1/models/litte/evaluate", json={"collection": "default"}),
            await client.post("/v1/classify", data={"model": "litte", "labels": "a,b"}, files=image),
            await client.post("/v1/embeddings", data={"model": "litte"}, files=image),
            await client.post("/v1/collections", json={"name": "near", "encoder": "litte"}),
        ],
        "'llava-shapes'": [
            await client.post("/v1/vqa", data={"model": "llava-shape", "question": "what?"}, files=image),
            await client.post("/v1/caption", data={"model": "llava-shape"}, files=image),
        ],
    }
    for near, all_replies in replies.items():
        for reply in all_replies:
            problem = reply.json()
            assert (reply.status_code, problem["error"]["code"]) == (404, "model_not_found"), reply.text
            assert f"did you mean {near}" in problem["detail"], (str(reply.url), problem["detail"])


async def test_a_name_that_means_nothing_is_answered_with_what_there_is(client: httpx.AsyncClient) -> None:
    said = (await client.get("/v1/models/zzz")).json()["detail"]
    listed = (await get_json(client, "/v1/models"))["data"]
    for model in [model for model in listed if not model["alias_of"]]:
        assert f"'{model['id']}'" in said
    refused = await client.post("/v1/collections", json={"name": "near", "encoder": "llava-shapes"})
    assert refused.status_code == 404
    assert "There is no model 'llava-shapes' here that makes vectors" in refused.json()["detail"]
