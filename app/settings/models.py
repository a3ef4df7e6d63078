"""Which models are live, how they run, and how requests for them are batched."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, SecretStr, field_validator

from app.settings.group import SettingsGroup

Optimisation = Literal["auto", "none", "basic", "standard", "aggressive"]


class ModelSettings(SettingsGroup):
    """Models."""

    encoder: str = Field(
        "lite", description="Default encoder: a family, a Hugging Face id or a local folder."
    )
    encoder_retry_s: float = Field(
        60.0,
        ge=0,
        description="Seconds between two tries to load the default encoder after one that failed; 0 leaves it to the next request that needs it.",
    )
    lite_quality: Literal["fast", "best"] = Field(
        "fast",
        description="What `lite` is: `fast`, or `best`, which looks with a second network (the extra `best`): see docs/encoders.md for gain and cost. A change embeds collections again.",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps (unproven).")
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
        description="How far models are optimised for speed (docs/encoders.md); each level is measured, and refused where its results differ too much.",
    )
    optimisations: str = Field(
        "", description="Levels of single models, such as `clip-tiny=aggressive,lite=none`."
    )
    threads: int = Field(0, ge=0, description="CPU threads a model may use; 0 means all cores.")
    model_memory_mb: int = Field(
        0, ge=0, description="Memory budget for live models; 0 means half of the device's memory."
    )
    gpu_graphs: bool = Field(
        True, description="Record CUDA graphs of encoders in the background, one a bucket of batch size."
    )
    gpu_decode: Literal["auto", "off"] = Field(
        "auto",
        description="Whether baseline JPEGs are decoded on a CUDA device, where torchcodec or torchvision can do it.",
    )
    gpu_staging_mb: int = Field(
        64,
        ge=1,
        description="Pixels that cross to a GPU in one copy; each encoder has two such buffers on both sides.",
    )
    allow_downloads: bool = Field(True, description="Let models be fetched from the Hugging Face hub.")

    @property
    def levels_by_model(self) -> dict[str, str]:
        """`optimisations` taken apart."""
        pairs = (entry.partition("=") for entry in self.optimisations.split(",") if entry.strip())
        return {name.strip(): level.strip() for name, _, level in pairs}

    @field_validator("optimisations")
    @classmethod
    def _check_levels(cls, text: str) -> str:
        levels = get_args(Optimisation)
        for entry in filter(str.strip, text.split(",")):
            name, _, level = (part.strip() for part in entry.partition("="))
            if not name or level not in levels:
                raise ValueError(
                    f"'{entry.strip()}' is not a model's name, '=' and one of {', '.join(levels)}"
                )
        return text


class AnswerSettings(SettingsGroup):
    """Vision-language models."""

    vlm: str = Field(
        "llava-shapes",
        description="Default model for questions: a checkpoint of this project, a Hugging Face id, a local folder, or `remote`.",
    )
    captioner: str = Field(
        "",
        description="Default model for captions; empty means the one for questions where it can caption, else blip-shapes-caption.",
    )
    vlm_max_batch: int = Field(16, ge=1, description="Largest batch of answers generated together.")
    vlm_cache_mb: int = Field(
        0,
        ge=0,
        description="Largest size of one model's cache of keys and values, in MB; fewer answers are generated at once where more would not fit. 0 is an eighth of the device's memory.",
    )
    vlm_max_queue: int = Field(
        64,
        ge=1,
        description="Questions that wait in one process, and that one model lets wait; beyond that requests get 503, those of the workspace with the most of them first.",
    )
    vlm_in_flight: int = Field(
        0,
        ge=0,
        description="Questions that are answered at a time, all front ends together; 0 means twice the largest batch, for each engine. Of the others that wait, at most `VISION_VLM_MAX_QUEUE`, workspaces take turns.",
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
    max_chat_messages: int = Field(
        64, ge=1, description="Latest messages of a chat that are looked at; older ones are left out."
    )
    max_chat_chars: int = Field(
        32_000, ge=1, description="Most characters in the messages of a chat that are looked at, together."
    )
    max_chat_images: int = Field(
        8,
        ge=1,
        description="Latest images of a chat that are decoded and shown to a model that takes several; older ones are left out.",
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
    remote_attempts: int = Field(
        3, ge=1, description="Times a request to a busy or unreachable remote server is tried."
    )

    @property
    def in_flight(self) -> int:
        """Questions that one process has answered at a time: a batch, and the next one."""
        return self.vlm_in_flight or self.vlm_max_batch + min(self.vlm_max_batch, self.vlm_max_queue)


class BatchingSettings(SettingsGroup):
    """Batching."""

    max_batch: int = Field(
        0,
        ge=0,
        description="Largest batch one forward pass takes on a GPU; 0 measures where images a second stop growing.",
    )
    cpu_max_batch: int = Field(
        8,
        ge=1,
        description="Largest batch one forward pass takes on a CPU, where more items only spill its cache.",
    )
    max_queue: int = Field(
        256,
        ge=1,
        description="Images that wait in one process, and items one model lets wait; beyond that requests get 503, those of the workspace with the most of them first.",
    )
    images_in_flight: int = Field(
        0,
        ge=0,
        description="Images that are decoded and embedded at a time, all front ends together; 0 means twice the largest batch, at least 4 a decoding thread. Of the others that wait, at most `VISION_MAX_QUEUE`, workspaces take turns; one that has fewer under way than another may take up to twice its front end's part.",
    )
    deadline_s: float = Field(
        30.0,
        gt=0,
        description="Seconds an item may wait and run before it is dropped; an AVIF, HEIC or JPEG 2000 image may wait as long for a decoder first.",
    )
    decode_threads: int = Field(
        0, ge=0, description="Threads that decode images, of all front ends together; 0 means all cores."
    )
    embedding_cache: bool = Field(True, description="Keep embeddings in Redis by image hash and encoder.")
    embedding_cache_ttl_s: int = Field(86_400, ge=1, description="Seconds an embedding stays cached.")
    max_cached_texts: int = Field(2_048, ge=0, description="Text vectors each live model keeps in memory.")


class CollectionSettings(SettingsGroup):
    """Collections."""

    watch_interval_s: float = Field(
        1.0, gt=0, description="Seconds between two checks of the collections' versions."
    )
    max_cached_heads: int = Field(64, ge=1, description="Fitted heads kept in memory.")
