"""Settings are given by their own names, from the environment or as keywords, and read from their groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, list_groups


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for group in list_groups().values():
        for name in group.model_fields:
            monkeypatch.delenv(f"VISION_{name.upper()}", raising=False)


def test_each_setting_has_a_name_of_its_own() -> None:
    names = [name for group in list_groups().values() for name in group.model_fields]
    assert len(names) == len(set(names)) >= 100
    assert not set(names) & set(list_groups())


def test_every_setting_is_read_from_its_variable() -> None:
    given = Settings()
    flat = {
        name: getattr(getattr(given, group), name)
        for group, model in list_groups().items()
        for name in model.model_fields
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in flat.items():
            patch.setenv(f"VISION_{name.upper()}", "" if value is None else str(value))
        assert set(Settings().explicit_values) == set(flat)
    assert Settings().explicit_values == {}


def test_a_keyword_goes_before_the_environment_and_a_group_is_no_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VISION_MAX_IMAGES", "7")
    monkeypatch.setenv("vision_max_parts", "8")
    monkeypatch.setenv("VISION_PORT", "9")
    monkeypatch.setenv("VISION_SERVER", "http://127.0.0.1:8000")
    settings = Settings(max_images=5, vlm="remote")
    assert (settings.limits.max_images, settings.limits.max_parts, settings.server.port) == (5, 8, 9)
    assert settings.explicit_values == {"max_images": 5, "max_parts": 8, "port": 9, "vlm": "remote"}


def test_errors_name_each_wrong_setting_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISION_PORT", "high")
    with pytest.raises(ValidationError) as caught:
        Settings(max_images=0, cpu_runtime="fast", no_such_setting=1, job_lease_s=4.0)
    wrong = {str(error["loc"][0]): error["msg"] for error in caught.value.errors() if len(error["loc"]) == 1}
    assert set(wrong) == {"port", "max_images", "cpu_runtime", "no_such_setting", "job_heartbeat_s"}
    assert "more than half of job_lease_s" in wrong["job_heartbeat_s"]
    assert "not permitted" in wrong["no_such_setting"]


def test_a_group_cannot_be_given_whole() -> None:
    with pytest.raises(TypeError, match="'limits' is a group"):
        Settings(limits={"max_images": 5})


def test_a_copy_has_the_changed_values_and_the_original_keeps_its_own(tmp_path: Path) -> None:
    settings = Settings(max_images=5, threads=1)
    copy = settings.replace(max_images=6, data_dir=tmp_path)
    assert (copy.limits.max_images, copy.server.data_dir, copy.models.threads) == (6, tmp_path, 1)
    assert copy.explicit_values == {"max_images": 6, "threads": 1, "data_dir": tmp_path}
    assert settings.explicit_values == {"max_images": 5, "threads": 1}
    with pytest.raises(AttributeError, match="no_such_setting"):
        settings.replace(no_such_setting=1)
