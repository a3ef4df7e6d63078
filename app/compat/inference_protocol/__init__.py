"""The Open Inference Protocol v2 of KServe and Triton."""

from app.compat.inference_protocol.routes import PREFIX, router

__all__ = ["PREFIX", "router"]
