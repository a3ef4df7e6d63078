"""What running out of memory looks like, whichever library says so.

Imports none of those libraries to find out.
"""

from __future__ import annotations

from app.inference.errors import OutOfMemoryError

_SIGNS = ("out of memory", "allocate memory", "not enough memory", "bad_alloc")
"""Parts of the messages of CUDA, ONNX Runtime, torch on CPU and the C++ library."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine ran out of memory."""
    if isinstance(error, MemoryError | OutOfMemoryError):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in names:  # torch.OutOfMemoryError, torch.cuda.OutOfMemoryError
        return True
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS)
