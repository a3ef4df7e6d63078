"""On `PYTHONPATH`, this lets the workers of a service fork their jobs' processes (tests/forked_jobs.py) by whoever
listens at `TEST_FORKS`.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_MODULE = "workers.worker.launching"


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module as all others are found, and has it changed once it is there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname == _MODULE else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                execute(module)
                sys.path.append(str(Path(__file__).resolve().parents[2]))
                from tests.forked_jobs import fork_jobs_of

                fork_jobs_of(module, Path(os.environ["TEST_FORKS"]))

            setattr(spec.loader, "exec_module", execute_and_change)  # noqa: B010 - a method, to a type checker
        return spec


if "TEST_FORKS" in os.environ:
    sys.meta_path.insert(0, _Finder())
