"""What the groups of settings have in common."""

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "VISION_"
"""What the names of environment variables begin with."""


class SettingsGroup(BaseSettings):
    """Settings that are read from the environment by their own names. The docstring of a group is its heading in
    docs/settings.md.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX)
