"""The failures that only clients of other services' APIs can meet."""

from __future__ import annotations

from app.errors import BadRequestError


class FieldNotSupportedError(BadRequestError):
    """This field asks for something that this service does not do."""

    code = "not_supported"
    advice = "Leave the field out that `param` names."


class ImageUrlNotFetchedError(BadRequestError):
    """Addresses of images are not fetched: send the image itself as a data: URI (`data:image/jpeg;base64,...`)."""

    code = "image_url_not_fetched"
    advice = "Read the image yourself and send it as a data: URI."


class ImageRequiredError(BadRequestError):
    """The models here answer questions about images: send at least one, as a data: URI in an `image_url` part."""

    code = "image_required"
    advice = "Put an image into the conversation, or serve a model that takes text alone (`VISION_VLM_URL`)."


class UseChatError(BadRequestError):
    """This call is not offered: use `POST /v1/chat/completions`."""

    status, code, title = 404, "use_chat_completions", "Not found"
    advice = "Use chat completions; in LlamaIndex, `OpenAILike(is_chat_model=True)`."
