"""What the service listens on, whom it lets in, what it refuses, and what it logs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from app.settings.group import SettingsGroup


class ServerSettings(SettingsGroup):
    """Where it listens and keeps things."""

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
    embedded_linger_s: float = Field(
        30.0,
        ge=0,
        description="Seconds that the embedded servers run on after the last service that used them was killed: time for its worker to give its jobs back, and for another start to join them.",
    )
    max_open_files: int = Field(
        65_536,
        ge=64,
        description="Files and connections a service may hold open: the soft limit is raised to it at start, as far as the hard limit (ulimit -Hn) allows, and never lowered.",
    )
    reserved_open_files: int = Field(
        256,
        ge=0,
        description="Open files kept for databases, models and uploads; connections get the others, at least half of all, where those are fewer than VISION_MAX_CONCURRENCY.",
    )
    database_pool_size: int = Field(
        8,
        ge=1,
        description="Database connections a service keeps open; of several front ends each has two at least.",
    )


class AccessSettings(SettingsGroup):
    """Who may come in."""

    no_auth: bool = Field(False, description="Serve beyond loopback without API keys.")
    bootstrap_key_file: Path | None = Field(
        None, description="On first start beyond loopback, write a new admin key to this file."
    )
    secret: SecretStr | None = Field(
        None,
        description="Secret that API keys are hashed with, at least 16 characters; processes with different data folders and one database must share it. Empty makes one in the data folder.",
    )
    open_metrics: bool = Field(
        False,
        description="Show `/metrics` to callers without a key beyond loopback too; otherwise it takes a key with the scope `metrics` there.",
    )
    allowed_hosts: str = Field(
        "", description="Extra Host names, comma-separated, that are accepted when serving without keys."
    )


class LimitSettings(SettingsGroup):
    """Limits on what comes in."""

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
        description="Connections, idle ones included, that are served at the same time; beyond that they get 503. The open files may allow fewer (VISION_RESERVED_OPEN_FILES).",
    )
    keep_alive_s: int = Field(5, ge=1, description="Seconds an idle connection stays open.")
    shutdown_grace_s: int = Field(
        20, ge=1, description="Seconds that requests under way get to finish when the service stops."
    )
    max_megapixels: float = Field(40.0, gt=0, description="Most pixels in one image, in millions.")
    max_side: int = Field(30_000, ge=1, description="Longest side of an image, in pixels.")
    stored_side: int = Field(
        2_048,
        ge=256,
        description="Longest side of a stored example, in pixels; larger images are scaled down to it.",
    )
    max_workspace_mb: int = Field(
        524_288,
        ge=1,
        description="Most that one workspace may store, in MiB: images of examples and answers, datasets, models and what was made of them. Beyond that, requests that would add something get 413.",
    )
    decoders: int = Field(
        2,
        ge=1,
        description="AVIF, HEIC and JPEG 2000 images that are decoded at the same time, each in a process of its own; others wait.",
    )
    decoder_memory_mb: int = Field(
        2_048, ge=256, description="Memory that decoding one of them may take, in MiB."
    )
    decoder_s: float = Field(
        20.0, ge=1, description="Seconds that decoding one of them may take, in all and of CPU time."
    )
    max_labels: int = Field(1_000, ge=1, description="Most labels in one zero-shot request.")
    max_text_chars: int = Field(1_000, ge=1, description="Longest label, description or text, in characters.")
    max_texts: int = Field(256, ge=1, description="Most texts in one embeddings request.")
    max_preview_images: int = Field(
        64, ge=1, description="Most changed copies in one preview of augmentation."
    )
    max_compared_examples: int = Field(
        20_000,
        ge=1,
        description="Most examples of a collection that its health compares with one another, to find near-duplicates and labels that overlap; of more a sample is taken, which the reply says.",
    )
    max_page: int = Field(
        1_000, ge=1, description="Most rows in one page of a list, and most examples in one bulk change."
    )


class UploadSettings(SettingsGroup):
    """Uploaded archives: their limits, and those of checking them."""

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


class LogSettings(SettingsGroup):
    """Logs and metrics."""

    max_metric_models: int = Field(
        100,
        ge=1,
        description="Models that `/metrics` shows series of; of more, those that were least recently used lose theirs, or, where front ends are processes of their own, further ones are counted together as `other`.",
    )
    stage_cpu: bool = Field(
        False,
        description="Count in `/metrics` the CPU time of each stage of a request, which `make bench` prints; measuring takes some CPU time itself.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line printed."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto prints text on a terminal and JSON elsewhere."
    )
    progress_line_s: float = Field(
        10.0,
        gt=0,
        description="Seconds between the lines that say how far a command is, where its standard error is no terminal.",
    )
