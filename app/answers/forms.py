"""A text that a vision-language model is asked or taught, as forms carry it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from app.http.fields import settings_of
from app.inference.errors import QuestionTooLongError


def _check_length(text: str, info: ValidationInfo) -> str:
    most = settings_of(info).answers.max_question_chars
    if len(text) > most:
        raise QuestionTooLongError(f"A question has at most {most} characters.")
    return text


QuestionText = Annotated[str, AfterValidator(_check_length)]
