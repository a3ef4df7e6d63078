"""Any OpenAI-compatible server (vLLM, SGLang, another of these) as a vision-language model.

The server's address comes from settings, never from a client.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import httpx
from PIL import Image
from pydantic import BaseModel, ValidationError

from app.inference.errors import DeadlineExceededError, RemoteModelBusyError, RemoteModelError
from app.inference.prompts import CAPTION_PROMPT, Answer, Prompt, Task

_RETRIED = frozenset({429, 500, 502, 503, 504})
_FIRST_PAUSE_SECONDS = 0.25
_JPEG_QUALITY = 92


class RemoteVlm:
    """A model behind `POST {url}/chat/completions`; the server does the batching."""

    family = "remote"
    tasks: frozenset[Task] = frozenset({"vqa", "caption"})
    several_images = True
    takes_text_alone = True
    memory_bytes = 0

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        api_key: str | None = None,
        *,
        attempts: int = 3,
        max_side: int = 1536,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`url` ends before /chat/completions; images travel as JPEG with a longest side of `max_side` pixels."""
        self.name = name
        self.runtime = f"remote {model}"
        self._model = model
        self._attempts = attempts
        self._max_side = max_side
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/", headers=headers, follow_redirects=False, transport=transport
        )

    async def answer(
        self, prompt: Prompt, *, deadline_s: float, on_text: Callable[[str], None] | None = None
    ) -> tuple[Answer, tuple[int, ...]]:
        """The answer and which examples went along (all of them: the server knows its own context length).

        Raises RemoteModelBusyError (429 or 5xx after the last attempt), RemoteModelError (anything else the
        server refuses or garbles, or no connection) and DeadlineExceededError.
        """
        deadline = time.monotonic() + deadline_s
        body = await asyncio.to_thread(self._body, prompt)
        try:
            async with asyncio.timeout(deadline_s):
                answer = await self._ask(body, deadline, on_text)
        except TimeoutError:
            raise DeadlineExceededError("The remote model did not answer in time.") from None
        return answer, tuple(range(len(prompt.examples)))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(
        self, body: dict[str, Any], deadline: float, on_text: Callable[[str], None] | None
    ) -> Answer:
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(1, self._attempts + 1):
            said: list[str] = []
            try:
                return await self._stream(body, deadline, said, on_text)
            except (RemoteModelBusyError, httpx.TransportError) as error:
                # Once part of the answer was passed on, asking again would repeat it.
                if said or attempt == self._attempts:
                    if isinstance(error, RemoteModelBusyError):
                        raise
                    raise RemoteModelError("The remote model's server cannot be reached.") from error
                await asyncio.sleep(max(pause, getattr(error, "retry_after_s", None) or 0))
                pause *= 2
        raise RemoteModelError

    async def _stream(
        self, body: dict[str, Any], deadline: float, said: list[str], on_text: Callable[[str], None] | None
    ) -> Answer:
        timeout = httpx.Timeout(max(0.1, deadline - time.monotonic()), connect=5.0)
        usage = _Usage()
        finish = "stop"
        async with self._client.stream("POST", "chat/completions", json=body, timeout=timeout) as response:
            if response.status_code in _RETRIED:
                raise RemoteModelBusyError(retry_after_s=_retry_after(response))
            if response.status_code != 200:
                raise RemoteModelError(
                    f"The remote model's server refused the request ({response.status_code})."
                )
            async for event in _events(response):
                usage = event.usage or usage
                for choice in event.choices:
                    finish = choice.finish_reason or finish
                    if choice.delta.content:
                        said.append(choice.delta.content)
                        if on_text is not None:
                            on_text(choice.delta.content)
        return Answer(
            text="".join(said).strip(),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            finish_reason="length" if finish == "length" else "stop",
        )

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        messages: list[dict[str, Any]] = []
        images: list[Image.Image] = []
        for example in reversed(prompt.examples):
            if example.is_wordless and example.image is not None:
                images.append(example.image)
                continue
            messages.append(self._user(example.question, *images, example.image))
            images = []
            messages.append({"role": "assistant", "content": example.answer})
        shown = None if prompt.is_text_only else prompt.image
        messages.append(self._user(prompt.text or CAPTION_PROMPT, *images, shown))
        return {
            "model": self._model,
            "messages": messages,
            "max_tokens": prompt.max_new_tokens,
            "temperature": prompt.sampling.temperature,
            "top_p": prompt.sampling.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"stop": list(prompt.stop)} if prompt.stop else {}),
        }

    def _user(self, text: str, *images: Image.Image | None) -> dict[str, Any]:
        parts = [self._image_part(image) for image in images if image is not None]
        return {"role": "user", "content": [*parts, {"type": "text", "text": text}] if parts else text}

    def _image_part(self, image: Image.Image) -> dict[str, Any]:
        small = image.copy()
        small.thumbnail((self._max_side, self._max_side))
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        return {"type": "image_url", "image_url": {"url": url}}


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(BaseModel):
    """The part of a chat-completion chunk that matters here."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


async def _events(response: httpx.Response) -> AsyncIterator[_Event]:
    """The chunks of a server-sent event stream; raises RemoteModelError on garbage or an early end."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            event = _Event.model_validate_json(data)
        except ValidationError as error:
            raise RemoteModelError("The remote model's server sent what cannot be understood.") from error
        if event.error is not None:
            raise RemoteModelError("The remote model's server reported an error while answering.")
        yield event
    raise RemoteModelError("The remote model's server ended its answer early.")


def _retry_after(response: httpx.Response) -> int | None:
    value = response.headers.get("retry-after", "")
    return min(int(value), 30) if value.isdigit() else None
