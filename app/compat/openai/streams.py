"""The events of a streamed chat completion and of a streamed response."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from app.answers.service import AskResult
from app.compat.openai.replies import (
    ReplyHead,
    chat_usage,
    finish_of,
    output_item,
    output_part,
    response_object,
)
from app.compat.openai.schemas import FinishReason


def data_line(content: dict[str, Any]) -> str:
    """An event without a name, as chat completions have them."""
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


@dataclass
class ChatFrames:
    """`chat.completion.chunk` events: the role, pieces of text, the reason of the end, usage if asked for, [DONE]."""

    made: ReplyHead
    include_usage: bool
    _begun: bool = False

    def render_piece(self, text: str) -> str:
        """See `app.answers.streaming.Frames`."""
        return self._begin() + (self._chunk({"content": text}) if text else "")

    def render_end(self, answered: AskResult) -> str:
        """See `app.answers.streaming.Frames`."""
        return self._begin() + self._end(finish_of(answered), chat_usage(answered))

    def _end(self, finish: FinishReason, usage: dict[str, int]) -> str:
        frames = [self._chunk({}, finish)]
        if self.include_usage:
            frames.append(data_line({**self._head(), "choices": [], "usage": usage}))
        return "".join([*frames, "data: [DONE]\n\n"])

    def render_failure(self, problem: dict[str, Any]) -> str:
        """See `app.answers.streaming.Frames`; no [DONE] follows, so that nobody takes the answer for whole."""
        return data_line({"error": problem["error"]})

    def _begin(self) -> str:
        if self._begun:
            return ""
        self._begun = True
        return self._chunk({"role": "assistant", "content": ""})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data_line({**self._head(), "choices": [choice]})

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.made.id,
            "object": "chat.completion.chunk",
            "created": self.made.created,
            "model": self.made.model,
        }


@dataclass
class ResponseFrames:
    """`response.*` events, numbered, from `response.created` to `response.completed`."""

    made: ReplyHead
    instructions: str | None
    _text: list[str] = field(default_factory=list)
    _number: int = 0

    def render_piece(self, text: str) -> str:
        """See `app.answers.streaming.Frames`."""
        begin = "" if self._text else self._begin()
        self._text.append(text)
        return begin + self._event("output_text.delta", {**self._place(), "delta": text, "logprobs": []})

    def render_end(self, answered: AskResult) -> str:
        """See `app.answers.streaming.Frames`."""
        begin = "" if self._text else self._begin()
        text = "".join(self._text)
        whole = response_object(self.made, self.instructions, answered, text)
        return "".join(
            [
                begin,
                self._event("output_text.done", {**self._place(), "text": text, "logprobs": []}),
                self._event("content_part.done", {**self._place(), "part": output_part(text)}),
                self._event("output_item.done", {"output_index": 0, "item": whole["output"][0]}),
                self._event(
                    "completed" if whole["status"] == "completed" else "incomplete", {"response": whole}
                ),
            ]
        )

    def render_failure(self, problem: dict[str, Any]) -> str:
        """See `app.answers.streaming.Frames`."""
        error = {"code": problem["error"]["code"], "message": problem["detail"]}
        whole = {**response_object(self.made, self.instructions), "status": "failed", "error": error}
        return self._event("failed", {"response": whole})

    def _begin(self) -> str:
        whole = response_object(self.made, self.instructions)
        return "".join(
            [
                self._event("created", {"response": whole}),
                self._event("in_progress", {"response": whole}),
                self._event("output_item.added", {"output_index": 0, "item": output_item(self.made)}),
                self._event("content_part.added", {**self._place(), "part": output_part("")}),
            ]
        )

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.made.item_id, "output_index": 0, "content_index": 0}

    def _event(self, name: str, content: dict[str, Any]) -> str:
        kind = f"response.{name}"
        numbered = {"type": kind, "sequence_number": self._number, **content}
        self._number += 1
        return f"event: {kind}\n{data_line(numbered)}"
