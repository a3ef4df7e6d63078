"""How an image tower runs: the choices a CPU and a GPU offer, behind one call."""

from __future__ import annotations

from app.inference.runtimes.choice import choose
from app.inference.runtimes.gpu.opening import gpu_runtime, launcher_of
from app.inference.runtimes.tower import ImageRuntime, Tower

__all__ = ["ImageRuntime", "Tower", "choose", "gpu_runtime", "launcher_of"]
