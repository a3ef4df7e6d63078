"""Calls of other projects' clients, in the environment of `clients.txt`; prints what each gave as JSON.

Run as `python run_clients.py URL FOLDER`: the service, and a folder with `cat.jpg`, `coffee.jpg` and `shape.png`.
A client that fails is `{"error": ...}`, so that one tells nothing of the others.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# none of them may look for the internet
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "ANONYMIZED_TELEMETRY": "false"}
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]

SERVER, FOLDER = sys.argv[1], Path(sys.argv[2])
V1, KEY = f"{SERVER}/v1", "EMPTY"


def uri(name: str) -> str:
    kind = "png" if name.endswith("png") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode((FOLDER / name).read_bytes()).decode()}"


def parts(text: str, image: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": image}}]


ASKED = parts("what color is the shape?", uri("shape.png"))
MESSAGES: list[Any] = [{"role": "user", "content": ASKED}]


def openai_2() -> dict[str, Any]:
    import openai

    client = openai.OpenAI(base_url=V1, api_key=KEY)
    made = client.chat.completions.create(model="llava-shapes", messages=MESSAGES)
    chunks = client.chat.completions.create(model="llava-shapes", messages=MESSAGES, stream=True)
    vector = client.embeddings.create(model="lite", input=[uri("cat.jpg")]).data[0].embedding
    return {
        "version": openai.__version__,
        "answer": made.choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "dim": len(vector),
    }


def langchain_chat() -> dict[str, Any]:
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    asked = [HumanMessage(content=ASKED)]
    found = {}
    for name, more in {"chat": {}, "responses": {"use_responses_api": True}}.items():
        chat = ChatOpenAI(base_url=V1, api_key=KEY, model="llava-shapes", **more)
        made = chat.invoke(asked)
        found[name] = made.text
        found[f"{name}_streamed"] = "".join(piece.text for piece in chat.stream(asked))
        found[f"{name}_usage"] = made.usage_metadata["total_tokens"]
    return found


def langchain_embeddings() -> dict[str, Any]:
    from langchain_openai import OpenAIEmbeddings

    embed = OpenAIEmbeddings(base_url=V1, api_key=KEY, model="lite", check_embedding_ctx_length=False)
    return {"dims": [len(vector) for vector in embed.embed_documents(["a cat", uri("cat.jpg")])]}


def llama_index() -> dict[str, Any]:
    from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding
    from llama_index.llms.openai_like import OpenAILike

    asked = ChatMessage(
        role="user", blocks=[TextBlock(text="what color is the shape?"), ImageBlock(url=uri("shape.png"))]
    )
    llm = OpenAILike(model="llava-shapes", api_base=V1, api_key="fake", is_chat_model=True)
    embed = OpenAILikeEmbedding(model_name="lite", api_base=V1, api_key="fake")
    return {
        "answer": llm.chat([asked]).message.content,
        "streamed": "".join(piece.delta or "" for piece in llm.stream_chat([asked])),
        "dim": len(embed.get_text_embedding("a cat")),
    }


def litellm_chat() -> dict[str, Any]:
    import litellm

    found: dict[str, Any] = {}
    for prefix in ("openai", "hosted_vllm"):
        asked: dict[str, Any] = {
            "model": f"{prefix}/llava-shapes",
            "api_base": V1,
            "api_key": KEY,
            "messages": MESSAGES,
        }
        made = litellm.completion(**asked)
        chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
        plain = litellm.completion(**asked, stream=True)
        found[prefix] = {
            "answer": made.choices[0].message.content,
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in plain if chunk.choices),
            "usage": made.usage.total_tokens,
            "streamed_usage": next(
                chunk.usage.total_tokens for chunk in reversed(chunks) if getattr(chunk, "usage", None)
            ),
        }
    return found


def litellm_embeddings() -> dict[str, Any]:
    import litellm

    given = {"input": [uri("cat.jpg")], "api_key": KEY}
    infinity = litellm.embedding("infinity/lite", api_base=SERVER, modality="image", **given)
    usual = litellm.embedding("openai/lite", api_base=V1, **given)
    return {
        "infinity": [round(number, 6) for number in infinity.data[0]["embedding"][:5]],
        "openai": [round(number, 6) for number in usual.data[0]["embedding"][:5]],
    }


def triton() -> dict[str, Any]:
    import numpy as np
    import tritonclient.http as http
    from tritonclient.utils import InferenceServerException

    client = http.InferenceServerClient(SERVER.removeprefix("http://"))
    files = [(FOLDER / name).read_bytes() for name in ("cat.jpg", "coffee.jpg", "cat.jpg")]

    def infer(*, binary: bool, model: str = "default", **more: Any) -> Any:
        data = files if binary else [base64.b64encode(file) for file in files]
        given = http.InferInput("image", [3], "BYTES")
        given.set_data_from_numpy(np.array(data, dtype=object), binary_data=binary)
        return client.infer(model, [given], **more)

    wrong = http.InferInput("image", [2], "BYTES")
    wrong.set_data_from_numpy(np.array(files[:2], dtype=object))
    wrong._shape = [5]
    try:
        client.infer("default", [wrong])
        said = ""
    except InferenceServerException as error:
        said = str(error)
    packed = infer(binary=True, model="lite", request_compression_algorithm="gzip")
    plain = infer(
        binary=False,
        outputs=[http.InferRequestedOutput("label", binary_data=False)],
        parameters={"top_k": 2},
    )
    return {
        "states": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("default")],
        "absent": client.is_model_ready("nowhere"),
        "inputs": client.get_model_metadata("collection/default")["inputs"],
        "binary": [row[0].decode() for row in infer(binary=True).as_numpy("label")],
        "json": plain.as_numpy("label").tolist(),
        "shape": list(packed.as_numpy("embedding").shape),
        "wrong_shape": said,
    }


def tell(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the call gave, or how it failed."""
    try:
        return call()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    calls = (
        openai_2,
        langchain_chat,
        langchain_embeddings,
        llama_index,
        litellm_chat,
        litellm_embeddings,
        triton,
    )
    sys.stdout.write("RESULT " + json.dumps({call.__name__: tell(call) for call in calls}) + "\n")
