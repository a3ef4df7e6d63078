"""Run one storm: `python -m tests.faults.storm --seed 7 --faults 60`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.storm import say, storm


def main() -> int:
    """Run one storm; 1 where anything was lost, doubled or stuck."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--faults", type=int, default=60)
    words.add_argument(
        "--folder", type=Path, help="a new folder whose data and logs are kept; a temporary one without"
    )
    chosen = words.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary) / "storm"
        account = storm(folder, seed=chosen.seed, faults=chosen.faults)
    say(json.dumps(vars(account), indent=2))
    return bool(account.wrong)


if __name__ == "__main__":
    sys.exit(main())
