"""The failures that only clients of other services' APIs can meet."""

from __future__ import annotations

from app.errors import BadRequestError


class FieldNotSupportedError(BadRequestError):
    """This field asks for something that this service does not do."""

    code = "not_supported"
    advice = "Leave the field out that `param` names."


class UseChatError(BadRequestError):
    """This call is not offered: use `POST /v1/chat/completions`."""

    status, code, title = 404, "use_chat_completions", "Not found"
    advice = "Use chat completions; in LlamaIndex, `OpenAILike(is_chat_model=True)`."
