"""How an image tower runs: the choices a CPU and a GPU offer, behind one call.

Knows towers and runtimes; knows nothing of model families, of where weights come from, or of requests.
"""

from __future__ import annotations

from app.inference.runtimes.choice import choose
from app.inference.runtimes.tower import ImageRuntime, RuntimeConfig, Tower

__all__ = ["ImageRuntime", "RuntimeConfig", "Tower", "choose"]
