"""What a run was made on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata

PACKAGES = ("torch", "transformers", "onnxruntime", "peft", "torchvision", "torchcodec", "simplejpeg")


def default_device() -> str:
    """`cuda` or `mps` where torch can use one, else `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def describe(device: str) -> dict[str, str]:
    """Names and versions, in the order in which they are printed."""
    import torch

    kind, _, index = device.partition(":")
    found = {"device": device}
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(int(index or 0))
        found["device"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
        found["CUDA of torch"] = str(torch.version.cuda)
        found["driver"] = ask_nvidia("driver_version") or "unknown"
    found["processor"] = f"{_processor()}, {os.cpu_count()} cores"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found["memory"] = f"{memory / 1e9:.0f} GB"
    found["Python"] = platform.python_version()
    found["packages"] = ", ".join(f"{name} {version}" for name, version in _versions())
    return found


def ask_nvidia(what: str) -> str | None:
    """One value of `nvidia-smi`, of the first GPU; None where there is no such command."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    words = [command, f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found
