"""Every setting of the service, in groups; docs/settings.md is made from their names, defaults and help.

A setting is given by its own name, from the environment (`VISION_MAX_IMAGES`) or as a keyword
(`Settings(max_images=5)`), and read from its group (`settings.limits.max_images`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails

from app.settings.engine import EngineSettings
from app.settings.group import SettingsGroup
from app.settings.jobs import JobSettings, StrategySettings
from app.settings.models import AnswerSettings, BatchingSettings, CollectionSettings, ModelSettings
from app.settings.processes import ProcessSettings
from app.settings.review import ReviewSettings
from app.settings.serving import AccessSettings, LimitSettings, LogSettings, ServerSettings, UploadSettings


class Settings(BaseModel):
    """All limits and choices; each is an environment variable `VISION_<NAME>`."""

    model_config = ConfigDict(extra="forbid")

    server: ServerSettings
    processes: ProcessSettings
    access: AccessSettings
    models: ModelSettings
    answers: AnswerSettings
    batching: BatchingSettings
    engine: EngineSettings
    limits: LimitSettings
    uploads: UploadSettings
    collections: CollectionSettings
    review: ReviewSettings
    jobs: JobSettings
    strategies: StrategySettings
    logs: LogSettings

    def __init__(self, **values: Any) -> None:
        """`values` by the settings' own names; what is not among them is read from the environment.

        Raises ValidationError that names every wrong setting, without its group.
        """
        try:
            super().__init__(**{group: {} for group in list_groups()} | _sort_into_groups(values))
        except ValidationError as error:
            wrong = [
                InitErrorDetails(
                    # the group, the setting, and which type of a union it is not
                    type=error["type"],
                    loc=error["loc"][:2][-1:],
                    input=error["input"],
                    ctx=error.get("ctx", {}),
                )
                for error in error.errors()
            ]
            raise ValidationError.from_exception_data(error.title, wrong) from None

    @property
    def explicit_values(self) -> dict[str, Any]:
        """What the environment, keywords or `replace` gave, by the settings' own names; defaults are left out."""
        groups: list[SettingsGroup] = [getattr(self, group) for group in list_groups()]
        return {name: getattr(group, name) for group in groups for name in group.model_fields_set}

    def replace(self, **changes: Any) -> Settings:
        """A copy in which these settings, by their own names, have other values; the values are not validated."""
        changed = _sort_into_groups(changes).items()
        return self.model_copy(
            update={group: getattr(self, group).model_copy(update=values) for group, values in changed}
        )


@cache
def list_groups() -> dict[str, type[SettingsGroup]]:
    """Each group by its name, in the order of docs/settings.md."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup)
    }


def _sort_into_groups(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by group, from settings by their own names. What is no setting stays as it is, to be refused."""
    group_by_name = {name: group for group, model in list_groups().items() for name in model.model_fields}
    sorted_values: dict[str, Any] = {}
    for name, value in values.items():
        if name in list_groups():
            raise TypeError(f"'{name}' is a group: give the settings in it by their own names")
        if group := group_by_name.get(name):
            sorted_values.setdefault(group, {})[name] = value
        else:
            sorted_values[name] = value
    return sorted_values
