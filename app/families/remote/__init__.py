"""A vision-language model on another server that speaks OpenAI's protocol."""

from __future__ import annotations

from app.inference.errors import ModelNotFoundError
from app.inference.family import Family
from app.inference.protocols import RemoteModel
from app.settings import Settings


class Remote(Family):
    """See `app.inference.family.Family`; its one model is reached, not loaded."""

    name = "remote"
    kind = "vlm"
    connects = True

    def has_server(self, settings: Settings) -> bool:
        return bool(settings.answers.remote_url)

    def connect(self, settings: Settings) -> RemoteModel:
        from app.families.remote.vlm import RemoteVlm

        if not settings.answers.remote_url:
            raise ModelNotFoundError("There is no model 'remote': VISION_REMOTE_URL names no server.")
        key = settings.answers.remote_api_key.get_secret_value() if settings.answers.remote_api_key else None
        return RemoteVlm(
            self.name,
            settings.answers.remote_url,
            settings.answers.remote_model,
            key,
            attempts=settings.answers.remote_attempts,
        )


FAMILY = Remote()
