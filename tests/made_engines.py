"""Engines that were made once in this run and serve every data folder of it: making one takes seconds of a core.

They are kept by a model's fingerprint and the machine, so that none is taken for another's. A test of how they are made
keeps a folder of its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

_VARIABLE = "TEST_ENGINES"
STEADY: dict[str, Any] = {
    "log_level": "error",
    "log_format": "text",
    "int8": False,
    "upload_check_cpu_s": 120,
    "upload_check_wall_s": 600,
}
"""Settings of a quiet service that does the same on every machine: which engine is the fastest, and how much of a
processor trying a model takes, is chance, and int8 and the limits have tests of their own.
"""


def engines_folder() -> Path:
    """The run's folder, which the processes that this one starts inherit; whoever asks first makes and removes it."""
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="engines-")
        atexit.register(shutil.rmtree, os.environ[_VARIABLE], ignore_errors=True)
    return Path(os.environ[_VARIABLE])


def share_engines(data_dir: Path) -> Path:
    """Let a data folder, made where it is missing, use the run's engines and add to them; the folder."""
    link_engines(data_dir / "cache")
    return data_dir


def link_engines(cache: Path) -> Path:
    """The same for the folder that a configuration names as its cache."""
    cache.mkdir(parents=True, exist_ok=True)
    engines = cache / "engines"
    if not engines.exists():
        engines.symlink_to(engines_folder())
    return cache
