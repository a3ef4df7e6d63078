"""`python -m workers.join JOB`: a node that lends its ranks to a job that runs on several (`workers.worker.join`)."""

from __future__ import annotations

from workers.worker.join import main

if __name__ == "__main__":
    main()
