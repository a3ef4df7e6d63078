"""Every setting of the service: its name, default and one line of help; docs/settings.md is checked against it.

Reads the environment (`VISION_*`) and nothing else; knows nothing of what the values are used for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Optimisation = Literal["auto", "none", "basic", "standard", "aggressive"]


class Settings(BaseSettings):
    """All limits and choices; each is an environment variable `VISION_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="VISION_", extra="forbid")

    # where it listens and keeps things
    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback an API key is needed.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(
        Path("~/.local/share/llamafarm-vision"),
        description="Folder for embedded databases, images, caches and secrets; `~` is the home folder.",
    )
    announce: bool = Field(
        True, description="Note the address in the data folder, where commands look for a running service."
    )
    database_url: str | None = Field(
        None, description="PostgreSQL with pgvector, as postgresql://...; empty starts the embedded one."
    )
    redis_url: str | None = Field(
        None, description="Redis or Valkey, as redis://...; empty starts the embedded one."
    )
    blob_url: str | None = Field(
        None,
        description="Where images are kept, any fsspec URL such as s3://bucket/folder; empty means the data folder.",
    )
    min_free_mb: int = Field(
        256,
        ge=1,
        description="MiB that are kept free on the disks of the data folder and of jobs: below that `/readyz` says so, uploads get 507 and jobs wait. The default is room for the uploads under way and for the database's log to end a transaction.",
    )
    database_pool_size: int = Field(8, ge=1, description="Database connections one process keeps open.")

    # who may come in
    no_auth: bool = Field(False, description="Serve beyond loopback without API keys.")
    bootstrap_key_file: Path | None = Field(
        None, description="On first start beyond loopback, write a new admin key to this file."
    )
    secret: SecretStr | None = Field(
        None,
        description="Secret that API keys are hashed with, at least 16 characters; processes with different data folders and one database must share it. Empty makes one in the data folder.",
    )
    allowed_hosts: str = Field(
        "", description="Extra Host names, comma-separated, that are accepted when serving without keys."
    )

    # models
    encoder: str = Field(
        "lite", description="Default encoder: a family, a Hugging Face id or a local folder."
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    cpu_runtime: Literal["auto", "onnx", "torch"] = Field(
        "auto",
        description="How encoders run on CPU; auto measures once and keeps the fastest that is exact enough.",
    )
    int8: bool = Field(True, description="Let auto consider int8 on CPU, behind its parity gate.")
    parity_cosine: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Lowest cosine to float32 torch that a faster runtime must reach on every parity image.",
    )
    parity_tokens: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Least share of tokens that a vision-language model at a level of optimisation must answer as float32 torch does.",
    )
    optimisation: Optimisation = Field(
        "auto",
        description="How boldly models are made faster (docs/encoders.md); each level is measured and refused where it strays too far.",
    )
    optimisations: str = Field(
        "", description="Levels of single models, such as `clip-tiny=aggressive,lite=none`."
    )
    threads: int = Field(0, ge=0, description="CPU threads a model may use; 0 means all cores.")
    model_memory_mb: int = Field(
        0, ge=0, description="Memory budget for live models; 0 means half of the device's memory."
    )
    allow_downloads: bool = Field(True, description="Let models be fetched from the Hugging Face hub.")

    # vision-language models
    vlm: str = Field(
        "llava-shapes",
        description="Default model for questions: a checkpoint of this project, a Hugging Face id, a local folder, or `remote`.",
    )
    captioner: str = Field(
        "",
        description="Default model for captions; empty means the one for questions where it can caption, else blip-shapes-caption.",
    )
    vlm_max_batch: int = Field(16, ge=1, description="Largest batch of answers generated together.")
    vlm_max_queue: int = Field(
        64, ge=1, description="Questions one model lets wait; beyond that requests get 503."
    )
    vlm_deadline_s: float = Field(
        120.0, gt=0, description="Seconds a question may wait and be answered before it is dropped."
    )
    default_new_tokens: int = Field(
        64, ge=1, description="Longest answer, in tokens, where the client does not say."
    )
    max_new_tokens: int = Field(512, ge=1, description="Longest answer a client may ask for, in tokens.")
    max_question_chars: int = Field(
        2_000, ge=1, description="Longest question, prompt or answer, in characters."
    )
    answer_examples: int = Field(
        4, ge=0, description="Answer examples shown with a question, where the client does not say."
    )
    max_answer_examples: int = Field(
        16, ge=0, description="Most answer examples a client may ask to be shown."
    )
    remote_url: str | None = Field(
        None, description="OpenAI-compatible server behind the model `remote`, such as http://host:8000/v1."
    )
    remote_model: str = Field("default", description="What that server calls its model.")
    remote_api_key: SecretStr | None = Field(None, description="Key for that server.")
    remote_attempts: int = Field(3, ge=1, description="Times a busy or unreachable remote server is asked.")

    # batching
    max_batch: int = Field(32, ge=1, description="Largest batch one forward pass takes on a GPU.")
    cpu_max_batch: int = Field(
        8,
        ge=1,
        description="Largest batch one forward pass takes on a CPU, where more items only spill its cache.",
    )
    max_queue: int = Field(256, ge=1, description="Items one model lets wait; beyond that requests get 503.")
    deadline_s: float = Field(
        30.0, gt=0, description="Seconds an item may wait and run before it is dropped."
    )
    decode_threads: int = Field(0, ge=0, description="Threads that decode images; 0 means all cores.")
    embedding_cache: bool = Field(True, description="Keep embeddings in Redis by image hash and encoder.")
    embedding_cache_ttl_s: int = Field(86_400, ge=1, description="Seconds an embedding stays cached.")
    max_cached_texts: int = Field(2_048, ge=0, description="Text vectors each live model keeps in memory.")

    # limits on what comes in
    max_body_mb: int = Field(
        64, ge=1, description="Largest request body, in MiB, counted while it streams in."
    )
    max_part_mb: int = Field(20, ge=1, description="Largest single image or part, in MiB.")
    max_parts: int = Field(64, ge=1, description="Most parts in one multipart body.")
    max_images: int = Field(32, ge=1, description="Most images in one request.")
    max_field_kb: int = Field(1024, ge=1, description="Largest text field in a form, in KiB.")
    max_json_values: int = Field(
        500_000,
        ge=1,
        description="Most values in one JSON body, counted by its separators while it streams in.",
    )
    max_header_kb: int = Field(32, ge=1, description="Largest headers of one request, in KiB.")
    max_query_kb: int = Field(16, ge=1, description="Longest query string, in KiB.")
    max_spool_mb: int = Field(
        1024,
        ge=1,
        description="Most bytes of uploads held at the same time, in memory and in the temporary folder, in MiB.",
    )
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds a client has to send a request's head, from connecting or from its first byte.",
    )
    receive_timeout_s: float = Field(30.0, gt=0, description="Seconds a client has to send its whole body.")
    max_uploads: int = Field(
        32, ge=1, description="Request bodies received at the same time; beyond that requests get 503."
    )
    max_concurrency: int = Field(
        1024,
        ge=1,
        description="Connections, idle ones included, that are served at the same time; beyond that they get 503.",
    )
    keep_alive_s: int = Field(5, ge=1, description="Seconds an idle connection stays open.")
    shutdown_grace_s: int = Field(
        20, ge=1, description="Seconds that requests under way get to finish when the service stops."
    )
    max_archive_mb: int = Field(
        20_480, ge=1, description="Largest uploaded archive (a dataset or a model), in MiB."
    )
    archive_timeout_s: float = Field(
        3_600.0, gt=0, description="Seconds a client has to send a whole archive."
    )
    max_archive_entries: int = Field(2_000_000, ge=1, description="Most files in one archive.")
    max_archive_ratio: int = Field(
        200, ge=1, description="How many times its own size an archive may unfold to, beyond 100 MiB."
    )
    max_unpacked_mb: int = Field(102_400, ge=1, description="Most an archive may unfold to, in MiB.")
    max_model_labels: int = Field(10_000, ge=2, description="Most labels of an uploaded classifier.")
    max_head_mb: int = Field(
        1_024, ge=1, description="Largest head.safetensors of an uploaded classifier, in MiB."
    )
    upload_checks: int = Field(
        2,
        ge=1,
        description="Uploads that are checked at the same time, each in a process of its own; beyond that requests get 503.",
    )
    upload_check_memory_mb: int = Field(
        1_536,
        ge=256,
        description="Memory that checking an archive or trying a model may take, in MiB; trying gets four times the size of the weights on top.",
    )
    upload_check_cpu_s: int = Field(
        20, ge=1, description="Seconds of CPU time that unpacking, checking or trying an upload may take."
    )
    upload_check_wall_s: float = Field(120.0, gt=0, description="Seconds that each of them may take in all.")
    upload_check_s_per_gib: int = Field(
        60,
        ge=0,
        description="Seconds of both kinds on top for each GiB of the archive, and when a model is tried, of its weights and its base's.",
    )
    upload_check_open_files: int = Field(
        256, ge=32, description="Files that checking an upload may hold open at the same time."
    )
    max_megapixels: float = Field(40.0, gt=0, description="Most pixels in one image, in millions.")
    max_side: int = Field(30_000, ge=1, description="Longest side of an image, in pixels.")
    stored_side: int = Field(
        2_048,
        ge=256,
        description="Longest side of a stored example, in pixels; larger images are scaled down to it.",
    )
    max_labels: int = Field(1_000, ge=1, description="Most labels in one zero-shot request.")
    max_text_chars: int = Field(1_000, ge=1, description="Longest label, description or text, in characters.")
    max_texts: int = Field(256, ge=1, description="Most texts in one embeddings request.")
    max_preview_images: int = Field(
        64, ge=1, description="Most changed copies in one preview of augmentation."
    )
    max_page: int = Field(1_000, ge=1, description="Most rows in one page of a list.")

    # collections
    watch_interval_s: float = Field(
        1.0, gt=0, description="Seconds between two looks at collection versions."
    )
    max_cached_heads: int = Field(64, ge=1, description="Fitted heads kept in memory.")

    # jobs
    worker: bool = Field(
        True,
        description="Let `vision serve` run a worker and the sweeper beside itself; false where others work.",
    )
    worker_at_once: bool = Field(
        True,
        description="Start them with the service; false waits until a job is asked for or followed, as services do that a command starts for itself.",
    )
    job_slots: int = Field(1, ge=1, description="Jobs one worker runs at the same time.")
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
        60.0, gt=0, description="Seconds after which a job whose worker fell silent is another's."
    )
    job_heartbeat_s: float = Field(
        10.0,
        gt=0,
        validate_default=True,
        description="Seconds between two renewals of a job's lease; at most half of it.",
    )
    job_sweep_s: float = Field(
        30.0, gt=0, description="Seconds between two looks for jobs that no worker heard of or holds."
    )
    job_tidy_s: float = Field(
        3_600.0, gt=0, description="Seconds between two looks for files that no job or model needs any more."
    )
    job_checkpoint_days: float = Field(
        7.0,
        ge=0,
        description="Days a failed or cancelled job keeps the checkpoint that a retry goes on from.",
    )
    job_history_days: float = Field(
        90.0, ge=0, description="Days after a job's end that its log and the course of its metrics are kept."
    )
    job_cancel_poll_s: float = Field(2.0, gt=0, description="Seconds between two looks whether to cancel.")
    job_stop_grace_s: float = Field(
        20.0, gt=0, description="Seconds a job gets to write a checkpoint when its worker stops."
    )
    job_log_lines: int = Field(10_000, ge=0, description="Log lines kept of one job.")
    job_memory_mb: int = Field(
        0, ge=0, description="Memory a job may take on its worker, in MiB; 0 means what is available."
    )
    max_open_jobs: int = Field(
        1_000, ge=1, description="Queued and running jobs of one workspace; beyond that requests get 503."
    )
    scratch_dir: Path | None = Field(
        None, description="Where workers keep a job's local files; empty means the data folder."
    )
    rendezvous: str | None = Field(
        None,
        description="host:port where the nodes of a job that runs on several meet; the first node's address.",
    )
    strategies_dir: Path | None = Field(
        None,
        description="Folder of your own strategies, YAML files of one or several, beside those that ship.",
    )
    max_strategies: int = Field(
        200, ge=1, description="Most files that folder may hold, and most strategies in them."
    )
    max_strategy_kb: int = Field(64, ge=1, description="Largest of them, in KiB.")
    event_poll_s: float = Field(
        0.5, gt=0, description="Seconds between two looks for new events of a job that is followed."
    )
    max_followers: int = Field(
        100, ge=1, description="Clients that follow jobs on one process; beyond that requests get 503."
    )

    # logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line printed."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto prints text on a terminal and JSON elsewhere."
    )

    @property
    def levels_by_model(self) -> dict[str, str]:
        """`optimisations` taken apart."""
        pairs = (one.partition("=") for one in self.optimisations.split(",") if one.strip())
        return {name.strip(): level.strip() for name, _, level in pairs}

    @field_validator("job_heartbeat_s")
    @classmethod
    def _renewed_in_time(cls, period_s: float, others: ValidationInfo) -> float:
        if period_s > others.data.get("job_lease_s", period_s * 2) / 2:
            raise ValueError(f"{period_s:g} is more than half of job_lease_s: every job would be lost")
        return period_s

    @field_validator("optimisations")
    @classmethod
    def _known_levels(cls, text: str) -> str:
        levels = get_args(Optimisation)
        for one in filter(str.strip, text.split(",")):
            name, _, level = (part.strip() for part in one.partition("="))
            if not name or level not in levels:
                raise ValueError(f"'{one.strip()}' is not a model's name, '=' and one of {', '.join(levels)}")
        return text
