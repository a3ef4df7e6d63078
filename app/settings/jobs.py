"""Workers, the jobs they run, and the strategies that jobs follow."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from app.settings.group import SettingsGroup


class JobSettings(SettingsGroup):
    """Jobs."""

    worker: bool = Field(
        True,
        description="Let `vision serve` run a worker and the sweeper beside itself; false where workers run elsewhere.",
    )
    worker_at_once: bool = Field(
        True,
        description="Start them with the service; false waits until a job is asked for or followed, as services do that a command starts for itself.",
    )
    job_slots: int = Field(1, ge=1, description="Jobs one worker runs at the same time.")
    gpu_base_parameters_m: int = Field(
        1000,
        ge=1,
        description="Base models of so many million parameters and more are trained by workers with a GPU, where there is one.",
    )
    job_attempts: int = Field(
        5, ge=1, description="Attempts of a job whose process dies before it counts as failed."
    )
    job_wait_s: float = Field(
        30.0,
        gt=0,
        description="Seconds a job is put off whose worker has a full disk or too many open files; twice as long each time it happens again, up to ten minutes.",
    )
    job_waits: int = Field(
        100, ge=0, description="Times a job is put off before such attempts are charged like any other."
    )
    job_lease_s: float = Field(
        60.0,
        gt=0,
        description="Seconds after which a job whose worker no longer reports is given to another one.",
    )
    job_heartbeat_s: float = Field(
        10.0,
        gt=0,
        validate_default=True,
        description="Seconds between two renewals of a job's lease; at most half of it.",
    )
    job_sweep_s: float = Field(
        30.0,
        gt=0,
        description="Seconds between two sweeps for jobs that were not published or that no worker holds.",
    )
    job_tidy_s: float = Field(
        3_600.0, gt=0, description="Seconds between two sweeps for files that no job or model needs any more."
    )
    job_checkpoint_days: float = Field(
        7.0,
        ge=0,
        description="Days a failed or cancelled job keeps the checkpoint that a retry goes on from.",
    )
    job_history_days: float = Field(
        90.0, ge=0, description="Days after a job's end that its log and the course of its metrics are kept."
    )
    job_cancel_poll_s: float = Field(2.0, gt=0, description="Seconds between two checks whether to cancel.")
    job_stop_grace_s: float = Field(
        20.0, gt=0, description="Seconds a job gets to write a checkpoint when its worker stops."
    )
    job_log_lines: int = Field(10_000, ge=0, description="Log lines kept of one job.")
    compare_images: int = Field(
        2_000,
        ge=0,
        description="Most training images, and most held-out ones, on which a model that learned labels is compared with the closed-form head at the end of its training; 0 compares nothing.",
    )
    job_memory_mb: int = Field(
        0, ge=0, description="Memory a job may take on its worker, in MiB; 0 means what is available."
    )
    max_open_jobs: int = Field(
        1_000, ge=1, description="Queued and running jobs of one workspace; beyond that requests get 503."
    )
    scratch_dir: Path | None = Field(
        None, description="Where workers keep a job's local files; empty means the data folder."
    )
    job_environment: str = Field(
        "",
        description="Further environment variables, comma-separated, `*` for any rest, that the processes of jobs are given; they get those that training is known to need and no secrets (docs/jobs.md).",
    )
    rendezvous: str | None = Field(
        None,
        description="host:port where the nodes of a job that runs on several meet; the first node's address.",
    )
    event_poll_s: float = Field(
        0.5, gt=0, description="Seconds between two checks for new events of a job that is followed."
    )
    max_followers: int = Field(
        100, ge=1, description="Clients that follow jobs on one service; beyond that requests get 503."
    )
    max_workspace_followers: int = Field(
        50,
        ge=1,
        description="Of them, clients of one workspace; beyond that its requests get 429.",
    )

    @field_validator("job_heartbeat_s")
    @classmethod
    def _check_renewal(cls, period_s: float, others: ValidationInfo) -> float:
        if period_s > others.data.get("job_lease_s", period_s * 2) / 2:
            raise ValueError(f"{period_s:g} is more than half of job_lease_s: every job would be lost")
        return period_s


class StrategySettings(SettingsGroup):
    """Strategies of your own."""

    strategies_dir: Path | None = Field(
        None,
        description="Folder of your own strategies, YAML files of one or several, beside those that ship.",
    )
    max_strategies: int = Field(
        200, ge=1, description="Most files that folder may hold, and most strategies in them."
    )
    max_strategy_kb: int = Field(64, ge=1, description="Largest of them, in KiB.")
