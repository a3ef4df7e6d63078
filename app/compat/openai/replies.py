"""The whole replies of chat completions and responses."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from app.answers.service import AskResult
from app.compat.openai.schemas import FinishReason


@dataclass(frozen=True)
class ReplyHead:
    """What names a reply: the same in all of its pieces."""

    kind: str
    """`chatcmpl` or `resp`."""
    model: str
    created: int = field(default_factory=lambda: int(time.time()))
    number: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def id(self) -> str:
        """The id of the reply."""
        return f"{self.kind}-{self.number}" if self.kind == "chatcmpl" else f"{self.kind}_{self.number}"

    @property
    def item_id(self) -> str:
        """Of the message in a response."""
        return f"msg_{self.number}"


def finish_of(answered: AskResult) -> FinishReason:
    """Why the answer ended, in OpenAI's words."""
    return "length" if answered.answer.finish_reason == "length" else "stop"


def chat_usage(answered: AskResult) -> dict[str, int]:
    """Tokens, counted by the model's own tokenizer."""
    prompt, completion = answered.answer.prompt_tokens, answered.answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chat_reply(
    made: ReplyHead, text: str, finish: FinishReason, usage: dict[str, int], **more: Any
) -> dict[str, Any]:
    """A `chat.completion`; `more` are members of our own beside OpenAI's."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": made.id,
        "object": "chat.completion",
        "created": made.created,
        "model": made.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": usage,
        **more,
    }


def warnings_of(answered: AskResult) -> dict[str, Any]:
    """What there is to know about the answer, as a member of our own; nothing where there is nothing."""
    return {"warnings": [vars(warned) for warned in answered.warnings]} if answered.warnings else {}


def output_part(text: str) -> dict[str, Any]:
    """A piece of a response's message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def output_item(made: ReplyHead, text: str | None = None, status: str = "in_progress") -> dict[str, Any]:
    """A response's message; without content where `text` is None."""
    content = [] if text is None else [output_part(text)]
    return {"type": "message", "id": made.item_id, "status": status, "role": "assistant", "content": content}


def response_object(
    made: ReplyHead, instructions: str | None, answered: AskResult | None = None, text: str = ""
) -> dict[str, Any]:
    """A `response`, in progress until it is `answered`."""
    status, details, output, usage = "in_progress", None, [], None
    if answered is not None:
        cut = finish_of(answered) == "length"
        status = "incomplete" if cut else "completed"
        details = {"reason": "max_output_tokens"} if cut else None
        output, usage = [output_item(made, text, status)], _response_usage(answered)
    return {
        "id": made.id,
        "object": "response",
        "created_at": made.created,
        "status": status,
        "model": made.model,
        "error": None,
        "incomplete_details": details,
        "output": output,
        "usage": usage,
        "instructions": instructions,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": None,
        "top_p": None,
    }


def _response_usage(answered: AskResult) -> dict[str, Any]:
    prompt, completion = answered.answer.prompt_tokens, answered.answer.completion_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + completion,
    }
