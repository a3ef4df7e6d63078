"""OpenAI's API: chat completions and responses."""

from app.compat.openai.routes import router

__all__ = ["router"]
