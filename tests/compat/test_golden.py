"""Requests of each protocol and what is answered, as recorded or read in the clients, without their packages."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from typing import Any

import httpx
import pytest

from app.access.errors import ForeignOriginError
from app.bootstrap import Services
from tests.compat.bodies import TEXT, chat, image
from tests.compat.conftest import COLOUR, FORM, Pictures
from tests.conftest import ClientMaker
from tests.learning import picture

UNIVERSAL = {"Authorization": "Bearer universal"}

JSON = "application/json"


async def test_open_webui_lists_and_chats(anonymous: httpx.AsyncClient, pictures: Pictures) -> None:
    listed = (await anonymous.get("/v1/models", headers={"Authorization": "Bearer "})).json()
    assert listed["object"] == "list"
    assert {"id", "object", "created", "owned_by"} <= set(listed["data"][0])
    # a pure proxy: parameters of its own go along
    body = chat(TEXT, image(pictures.uri("shape.png")), stream=True, max_tokens=64, session_id="x", tags=[1])
    reply = await anonymous.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in reply.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": COLOUR}, {}]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    # what it asks of itself, without a picture
    titles = await anonymous.post("/v1/chat/completions", json=chat(TEXT))
    assert (titles.status_code, titles.json()["error"]["code"]) == (400, "image_required")
    assert titles.headers["x-request-id"]


async def test_a_whole_chat_completion(anonymous: httpx.AsyncClient, pictures: Pictures) -> None:
    ignored = {"seed": 1, "user": "u", "store": True, "logprobs": True, "tools": [{"type": "function"}]}
    bare = {"type": "image_url", "image_url": pictures.uri("shape.png")}
    reply = (await anonymous.post("/v1/chat/completions", json=chat(TEXT, bare, **ignored))).json()
    usage = reply["usage"]
    assert reply["id"].startswith("chatcmpl-")
    assert {name: reply[name] for name in ("object", "model", "choices")} == {
        "object": "chat.completion",
        "model": "llava-shapes",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": COLOUR, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
    }
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]


EMBEDDINGS: dict[str, dict[str, Any]] = {
    "openai": {"input": "a cat", "encoding_format": "float", "user": "u"},
    "jina": {"input": [{"text": "a cat"}], "normalized": True, "embedding_type": "float", "task": "x"},
    "infinity": {"input": ["a cat"], "modality": "text", "dimensions": 0},
    "vllm": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]},
}

IMAGES: dict[str, Any] = {
    "data uri": lambda encoded: {"input": [f"data:image/jpeg;base64,{encoded}"], "modality": "text"},
    "ours": lambda encoded: {"input": [{"image": encoded}]},
    "jina": lambda encoded: {"input": [{"image": {"url": f"data:image/jpeg;base64,{encoded}"}}]},
    "infinity": lambda encoded: {"input": [encoded], "modality": "image"},
    "vllm": lambda encoded: {
        "messages": [{"role": "user", "content": [image(f"data:image/jpeg;base64,{encoded}")]}]
    },
}


async def test_every_embedding_dialect_gives_the_same(
    anonymous: httpx.AsyncClient, pictures: Pictures
) -> None:
    picture = pictures.base64("cat.jpg")
    for bodies in (list(EMBEDDINGS.values()), [write(picture) for write in IMAGES.values()]):
        vectors = []
        for body in bodies:
            reply = await anonymous.post("/v1/embeddings", json={"model": "lite", **body})
            assert reply.status_code == 200, (body, reply.text)
            found = reply.json()
            assert (found["object"], found["model"]) == ("list", "lite")
            assert [entry["index"] for entry in found["data"]] == [0]
            vectors.append(found["data"][0]["embedding"])
        for vector in vectors[1:]:
            assert vector == pytest.approx(vectors[0], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (
            {"messages": [{"role": "user", "content": [image("data:image/png;base64,AAAA"), TEXT]}]},
            "messages",
            "image",
        ),
        ({"input": [1, 2]}, "input", "check_embedding_ctx_length"),
        ({"input": "a", "embedding_type": "binary"}, "embedding_type", "base64"),
        ({"input": "a", "dimensions": 64}, "dimensions", "1472"),
        ({"input": "https://example.org/a.png"}, "input", "data: URI"),
    ],
)
async def test_what_embeddings_refuse(
    anonymous: httpx.AsyncClient, body: dict[str, Any], param: str, says: str
) -> None:
    reply = await anonymous.post("/v1/embeddings", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param
    assert says in reply.json()["error"]["message"]


async def test_llamafarm_checks_classifies_and_embeds(
    anonymous: httpx.AsyncClient, pictures: Pictures
) -> None:
    health = (await anonymous.get("/health", headers=UNIVERSAL)).json()
    assert {"status", "device", "loaded_models", "timestamp", "pid"} <= set(health)
    body = {
        "image": pictures.base64("cat.jpg"),
        "model": "lite",
        "classes": ["a rocket", "a cat"],
        "top_k": 1,
    }
    found = (await anonymous.post("/v1/vision/classify", json=body, headers=UNIVERSAL)).json()
    assert (found["class_name"], found["class_id"]) == ("a cat", 1)
    assert found["all_scores"] == {"a cat": found["confidence"]}
    assert found["inference_time_ms"] > 0
    with_none = {**body, "classes": ["none", "a cat"], "top_k": 2, "include_none": True}
    found = (await anonymous.post("/v1/vision/classify", json=with_none, headers=UNIVERSAL)).json()
    assert set(found["all_scores"]) == {"none", "a cat", "none_of_these"}
    assert sum(found["all_scores"].values()) == pytest.approx(1, abs=1e-4)
    uris = {"images": [pictures.uri("cat.jpg")], "texts": ["a", "b"], "model": "lite"}
    made = (await anonymous.post("/v1/vision/embed", json=uris, headers=UNIVERSAL)).json()
    assert (len(made["embeddings"]), made["dimensions"]) == (3, 1472)
    # UniversalEmbedder: the OpenAI call with its key, and zeros where it fails
    rag = await anonymous.post(
        "/v1/embeddings", json={"input": ["a", "b"], "model": "lite"}, headers=UNIVERSAL
    )
    assert all(any(entry["embedding"]) for entry in rag.json()["data"])
    wrong = await anonymous.post("/v1/vision/classify", json={**body, "model": "clip-vit-base"})
    assert wrong.status_code == 404
    assert "openai/clip-vit-base-patch32" in wrong.json()["detail"]
    for top_k in (0, 101):
        refused = await anonymous.post("/v1/vision/classify", json={**body, "top_k": top_k})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "top_k")
    empty = await anonymous.post("/v1/vision/embed", json={"model": "lite"})
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, "images")


async def test_llamafarm_asks_a_collection_for_its_own_labels(
    client: httpx.AsyncClient, pictures: Pictures
) -> None:
    for label in ("coffee", "cat"):
        files = {"image": pictures.read(f"{label}.jpg")}
        await client.post("/v1/collections/default/examples", data={"label": label}, files=files)
    for more in ({"model": "collection/default"}, {"model": "default", "classes": []}, {}):
        body = {"image": pictures.uri("cat.jpg"), **more}
        found = (await client.post("/v1/vision/classify", json=body)).json()
        assert found["class_name"] == "cat", found
        assert set(found["all_scores"]) == {"cat", "coffee"}
        assert found["class_id"] in (0, 1)


async def test_llamafarms_designer_reviews(
    client: httpx.AsyncClient, pictures: Pictures, services: Services
) -> None:
    for label, name in (("cat", "cat.jpg"), ("shape", "shape.png")):
        await client.post(
            "/v1/collections/default/examples", data={"label": label}, files={"images": pictures.read(name)}
        )
    await client.patch("/v1/collections/default", json={"review": {}})
    for number in range(3):
        await client.post("/v1/classify", files={"image": picture(700 + number)})
    await services.keeper.drain()
    query = {"page": 1, "page_size": 2}
    first = (await client.get("/v1/vision/review/pending", params=query)).json()
    assert {name: first[name] for name in ("total", "page", "page_size")} == {"total": 3, **query}
    assert len(first["items"]) == 2
    item = first["items"][0]
    assert set(item) == {"id", "image", "detection", "model", "timestamp"}
    assert set(item["detection"]) == {"box", "class_name", "confidence"}
    assert item["detection"]["box"] == {"x1": 0, "y1": 0, "x2": 96, "y2": 96}
    assert base64.b64decode(item["image"]).startswith(b"\xff\xd8")
    assert item["model"] == "collection/default"
    second = (await client.get("/v1/vision/review/pending", params={**query, "page": 2})).json()
    decisions = [
        {"id": first["items"][0]["id"], "decision": "correct"},
        {"id": first["items"][1]["id"], "decision": "wrong", "corrected_class": "noise"},
        {"id": second["items"][0]["id"], "decision": "skip"},
    ]
    for body in decisions:
        assert (await client.post("/v1/vision/review/decide", json=body)).json() == {"success": True}
    assert (await client.get("/v1/vision/review/pending")).json()["items"] == []
    again = await client.post("/v1/vision/review/decide", json=decisions[0])
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_decided")
    assert "was decided already" in again.json()["detail"]
    labels = (await client.get("/v1/collections/default/labels")).json()["data"]
    assert sum(label["examples"] for label in labels) == 4
    bad = await client.post("/v1/vision/review/decide", json={"id": "x", "decision": "maybe"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "decision")


async def test_hugging_face_bodies(client: httpx.AsyncClient, pictures: Pictures) -> None:
    raw = pictures.read("shape.png")
    caption = await client.post("/hf/image-to-text", content=raw)
    assert caption.json() == [{"generated_text": f"a {COLOUR} {FORM}"}]
    text = base64.b64encode(raw).decode()
    asked = {"inputs": text, "image": text, "question": TEXT["text"], "parameters": {"top_k": 1}}
    answer = await client.post("/hf/visual-question-answering", json=asked)
    assert answer.json() == [{"answer": COLOUR, "score": 1.0}]
    labels = {"inputs": text, "parameters": {"candidate_labels": ["a", "b"]}}
    scores = await client.post("/hf/zero-shot-image-classification/lite-embed", json=labels)
    assert {entry["label"] for entry in scores.json()} == {"a", "b"}
    info = (await client.get("/hf/image-classification/info")).json()
    assert set(info) == {"model_id", "model_pipeline_tag", "version"}
    assert (await client.get("/hf/image-classification/default/health")).status_code == 200


async def test_inference_protocol_in_plain_json_and_binary(
    client: httpx.AsyncClient, pictures: Pictures
) -> None:
    file = pictures.read("cat.jpg")
    tensor: dict[str, Any] = {"name": "image", "shape": [1], "datatype": "BYTES"}
    plain = {"id": "7", "inputs": [{**tensor, "data": [base64.b64encode(file).decode()]}]}
    reply = (await client.post("/v2/models/lite/infer", json=plain)).json()
    assert {name: reply[name] for name in ("id", "model_name", "model_version")} == {
        "id": "7",
        "model_name": "lite",
        "model_version": "1",
    }
    [output] = reply["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [1, 1472])
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(file) + 4}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    body = gzip.compress(head + struct.pack("<I", len(file)) + file)
    sent = {"Inference-Header-Content-Length": str(len(head)), "Content-Encoding": "gzip"}
    packed = await client.post("/v2/models/lite/versions/1/infer", content=body, headers=sent)
    length = int(packed.headers["inference-header-content-length"])
    assert json.loads(packed.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 5888}
    deflated = {**sent, "Content-Encoding": "deflate"}
    again = await client.post(
        "/v2/models/lite/infer", content=zlib.compress(gzip.decompress(body)), headers=deflated
    )
    assert again.content[int(again.headers["inference-header-content-length"]) :] == packed.content[length:]
    numbers = struct.unpack("<1472f", packed.content[length:])
    assert numbers == pytest.approx(output["data"], abs=1e-6)
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).status_code == 200
    assert (await client.get("/v2")).json()["extensions"] == ["binary_tensor_data"]
    about = (await client.get("/v2/models/collection/default")).json()
    assert [entry["name"] for entry in about["outputs"]] == ["label", "score", "rejected", "embedding"]
    assert (await client.get("/v2/models/collection/default/versions/1/ready")).json()["ready"] is True


ERRORS = [
    ("POST", "/hf/image-classification", {"inputs": 3}, 400),
    ("POST", "/hf/no-such-task", {"inputs": "x"}, 422),
    ("GET", "/v2/models/nowhere", None, 404),
    ("GET", "/v2/systemsharedmemory/status", None, 404),
    ("POST", "/v2/models/lite/infer", {"inputs": []}, 400),
    ("POST", "/v2/repository/index", {}, 404),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ERRORS)
async def test_errors_are_text_where_clients_print_them(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    reply = await client.request(method, path, json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (status, JSON)
    assert isinstance(reply.json()["error"], str)
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v1/models/lite"),
        ("GET", "/hf/image-classification/info"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/vision/classify"),
        ("GET", "/v1/vision/review/pending"),
        ("POST", "/embeddings"),
        ("POST", "/hf/image-to-text"),
        ("POST", "/v2/models/lite/infer"),
        ("POST", "/v2/repository/index"),
    ],
)
async def test_every_door_asks_for_the_scope_of_recognising(
    make_client: ClientMaker, method: str, path: str
) -> None:
    other = await make_client(scopes=["metrics"])
    assert (await other.request(method, path)).status_code == 403
    reader = await make_client(scopes=["recognise"])
    status = (await reader.request(method, path)).status_code
    assert status not in (401, 403)
    assert status < 500


async def test_a_foreign_host_is_told_which_setting_lets_it_in(anonymous: httpx.AsyncClient) -> None:
    reply = await anonymous.get("/v1/models", headers={"Host": "host.docker.internal:8000"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, ForeignOriginError.code)
    assert "VISION_ALLOWED_HOSTS" in reply.json()["detail"]


async def test_an_image_alone_has_its_vector_from_hugging_face_too(
    anonymous: httpx.AsyncClient, pictures: Pictures
) -> None:
    uri = pictures.uri("shape.png")
    image_bytes = base64.b64decode(uri.partition(",")[2])
    raw = (await anonymous.post("/hf/feature-extraction", content=image_bytes)).json()
    body = {"image": uri, "inputs": [uri, "a cat", uri]}
    several = (await anonymous.post("/hf/feature-extraction", json=body)).json()
    assert [len(vector) for vector in raw] == [1472]
    assert [len(vector) for vector in several] == [1472] * 3
    assert several[0] == several[2] == pytest.approx(raw[0], abs=1e-5)
