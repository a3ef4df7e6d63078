"""One recording of a CUDA graph at a time in this process, and nothing that waits for the whole device meanwhile.

Whoever waits for a device (`torch.cuda.synchronize`, which `torch.cuda.graph` calls, too) or has torch give its memory
back while a stream of it is recorded spoils the recording, even from another thread.
"""

from __future__ import annotations

import threading

RECORDING = threading.Lock()
"""Held while a graph is recorded, and by what must not happen meanwhile; after the lock of a device's streams."""
