"""What the service costs and how well it does, measured: one script a question, run as `python -m benchmarks.NAME`.

Knows the service from outside or one room at a time; no test depends on a figure.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `vision serve` does, before numpy comes in
