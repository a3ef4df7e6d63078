"""How many processes a service is split into, and what happens when one of them ends."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from app.settings.group import SettingsGroup

MAX_PROCESSES = 64
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")

Auto = Literal["auto"]


class ProcessSettings(SettingsGroup):
    """Processes."""

    front_ends: Auto | int = Field(
        "auto",
        description="Processes that answer requests while models run in others; 0 does both in one process. auto is 0 on a CPU, or 1 with several engines there; on a GPU the number of cores minus two, at least 1 and at most 16 (docs/scaling.md).",
    )
    engines: Auto | int = Field(
        "auto",
        validate_default=True,
        description="Processes that run models behind the front ends; auto is one for each GPU, or 1. On a CPU several share its cores.",
    )
    engine_devices: str = Field(
        "",
        validate_default=True,
        description="Device of each engine, comma-separated, such as `cuda:0,cuda:1`; empty follows VISION_DEVICE, in turn over all GPUs where that names none of them.",
    )
    engine_placement: Literal["replicate", "spread"] = Field(
        "replicate",
        description="Where models live with several engines: replicate loads a model on each and asks the least busy one, spread keeps each model on one engine.",
    )
    restart_pause_s: float = Field(
        0.2,
        gt=0,
        description="Seconds before a front end or an engine that ended is started again; doubled each time it ends soon again.",
    )
    restart_max_pause_s: float = Field(
        10.0, gt=0, validate_default=True, description="Longest of these pauses, in seconds."
    )
    restart_steady_s: float = Field(
        30.0,
        gt=0,
        description="Seconds a front end or an engine runs until the next pause is the first again.",
    )

    @property
    def device_list(self) -> tuple[str, ...]:
        """`engine_devices` taken apart."""
        return tuple(device.strip() for device in self.engine_devices.lower().split(",") if device.strip())

    @field_validator("front_ends", "engines", mode="before")
    @classmethod
    def _auto_or_a_number(cls, given: object, info: ValidationInfo) -> object:
        if isinstance(given, str) and not re.fullmatch(r"auto|-?\d{1,9}", given):
            lowest = 0 if info.field_name == "front_ends" else 1
            raise ValueError(f"'{given}' is neither auto nor a number of {lowest} to {MAX_PROCESSES}")
        return given

    @field_validator("front_ends", "engines")
    @classmethod
    def _few_enough(cls, count: Auto | int, info: ValidationInfo) -> Auto | int:
        lowest = 0 if info.field_name == "front_ends" else 1
        if count != "auto" and not lowest <= count <= MAX_PROCESSES:
            raise ValueError(f"{count} is neither auto nor a number of {lowest} to {MAX_PROCESSES}")
        if info.field_name == "engines" and count not in ("auto", 1) and info.data.get("front_ends") == 0:
            raise ValueError(
                f"{count} engines need a process that answers requests: front_ends must be auto or at least 1"
            )
        return count

    @field_validator("engine_devices")
    @classmethod
    def _check_devices(cls, text: str, info: ValidationInfo) -> str:
        devices = [device.strip() for device in text.lower().split(",")] if text.strip() else []
        for device in devices:
            if not _DEVICE.fullmatch(device):
                raise ValueError(f"'{device}' is no device of an engine: use cpu, mps, cuda or cuda:N")
        engines = info.data.get("engines", "auto")
        if devices and engines not in ("auto", len(devices)):
            raise ValueError(f"{len(devices)} devices are named for {engines} engines: name one for each")
        if len(devices) > MAX_PROCESSES:
            raise ValueError(f"{len(devices)} devices are more than {MAX_PROCESSES} engines may have")
        if devices and info.data.get("front_ends") == 0:
            raise ValueError(
                "engines of their own need front_ends to be auto or at least 1; one process uses VISION_DEVICE"
            )
        return text

    @field_validator("restart_max_pause_s")
    @classmethod
    def _not_shorter(cls, pause_s: float, info: ValidationInfo) -> float:
        if pause_s < info.data.get("restart_pause_s", pause_s):
            raise ValueError(f"{pause_s:g} is less than restart_pause_s, which is the first pause")
        return pause_s
