"""Secrets of a training process: in a file that only its user can read, instead of its environment.

An environment is read by libraries that report what they run in, printed in crash reports, and passed on to whatever
else is started. It gets the variables that training needs and none that holds a secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import BaseModel

from app.jobs.spec import JobSpec
from app.settings import Settings

FILE = "confidential.json"
_PLAIN = (
    *(
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LC_*",
        "TZ",
        "TERM",
        "NO_COLOR",
        "TMPDIR",
        "TEMP",
        "TMP",
    ),
    *("LD_*", "DYLD_*", "VIRTUAL_ENV", "CONDA_*", "PYTHON*", "XDG_*", "HOSTNAME", "COLUMNS"),
    *("OMP_*", "KMP_*", "GOMP_*", "MKL_*", "OPENBLAS_*", "MALLOC_*", "TOKENIZERS_*", "ACCELERATE_*", "DS_*"),
    *(
        "CUDA_*",
        "CUDNN_*",
        "CUBLAS_*",
        "NVIDIA_*",
        "NCCL_*",
        "GLOO_*",
        "TORCH*",
        "PYTORCH_*",
        "TRITON_*",
        "TP_*",
    ),
    *("HIP_*", "HSA_*", "ROCR_*", "ROCM_*", "UCX_*", "FI_*", "SLURM_*", "MASTER_ADDR", "MASTER_PORT"),
    *("HF_*", "HUGGINGFACE_*", "TRANSFORMERS_*", "MPLBACKEND", "MPLCONFIGDIR"),
    *("SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ),
)
"""Variables that training processes are given as they are, unless they look like secrets."""
_STORE = ("AWS_*", "AZURE_*", "GOOGLE_*", "GCS_*", "GCLOUD_*", "CLOUDSDK_*", "FSSPEC_*", "S3_*")
"""What file systems behind `blob_url` read; handed over in confidence where there is one."""
_HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", *(name for name in _PLAIN if name.lower().endswith("_proxy")))
"""What fetching models takes; handed over in confidence where the job may do that."""
_CONFIDENTIAL_SETTINGS = frozenset({"database_url", "blob_url"})
_WITHHELD_SETTINGS = frozenset({"redis_url", "secret", "remote_url", "remote_api_key", "bootstrap_key_file"})
"""No job needs them."""
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASS|CREDENTIAL|AUTH|COOKIE|DSN", re.IGNORECASE)
_NO_SECRET = re.compile(r"TOKENIZERS_\w+|HF_TOKEN_PATH")
_LOGIN = re.compile(r"://[^/\s]*@")


class Confidential(BaseModel):
    """What a supervisor hands to its child in a private file."""

    settings: dict[str, str]
    """By the settings' own names."""
    environment: dict[str, str]
    """Variables that libraries read by themselves."""


def public_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environ` that training needs, and the explicit settings, without anything secret.

    `job_environment` of the settings names further ones, which are passed on whatever they hold.
    """
    wanted = tuple(name.strip() for name in settings.jobs.job_environment.split(",") if name.strip())
    kept = {
        name: value
        for name, value in environ.items()
        if _matches(name, wanted) or (_matches(name, _PLAIN) and not _is_secret(name, value))
    }
    values = {
        f"VISION_{name.upper()}": str(value)
        for name, value in settings.explicit_values.items()
        if value is not None and name not in _CONFIDENTIAL_SETTINGS | _WITHHELD_SETTINGS
    }
    return kept | values


def confide(
    folder: Path, spec: JobSpec, settings: Settings, database_url: str, environ: Mapping[str, str]
) -> None:
    """Write the file, mode 0600, for the process that works on the job; raises OSError."""
    given = {"database_url": database_url}
    names: tuple[str, ...] = ()
    if settings.server.blob_url:
        given["blob_url"] = settings.server.blob_url
        if not _is_folder(settings.server.blob_url):
            names += _STORE
    # preparing a dataset opens what clients sent and loads no model
    if settings.models.allow_downloads and spec.kind != "prepare":
        names += _HUB
    chosen = {name: value for name, value in environ.items() if _matches(name, names)}
    handle = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(Confidential(settings=given, environment=chosen).model_dump_json())


def take(folder: Path) -> Settings:
    """In the training process, before anything reads its environment: the settings of this process.

    Every rank takes them; the file goes with the attempt's folder.
    """
    found = Confidential.model_validate(json.loads((folder / FILE).read_text()))
    os.environ.update(found.environment)
    values: dict[str, Any] = dict(found.settings)
    return Settings(**values)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _is_secret(name: str, value: str) -> bool:
    if _NO_SECRET.fullmatch(name):
        return False
    return _SECRET_NAME.search(name) is not None or _LOGIN.search(value) is not None


def _is_folder(blob_url: str) -> bool:
    try:
        return isinstance(fsspec.core.url_to_fs(blob_url)[0], LocalFileSystem)
    except (ImportError, ValueError):  # no such store: the process that opens it says so
        return False
