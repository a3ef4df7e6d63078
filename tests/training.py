"""A training run without an engine: what methods report, and checkpoints that a next run goes on from.

Knows the protocol of `workers.shared.method.Run`; knows nothing of any method.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.jobs.spec import JobSpec, ModelCard
from app.settings import Settings
from tests.made_engines import share_engines
from workers.methods import load_method
from workers.shared.examples import Examples, Item
from workers.shared.method import Judgement, StoppingError


@dataclass
class LocalRun:
    """See `workers.shared.method.Run`; everything stays below `scratch`."""

    spec: JobSpec
    settings: Settings
    scratch: Path
    restored: Path | None = None
    restored_step: int = 0
    rank: int = 0
    stop_at: int | None = None
    """The fitting step after which a drain is asked for."""
    reports: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    fitting: bool = False

    def step(self, step: int, of: int, **metrics: float) -> None:
        if self.fitting:
            self.reports.append((step, of, metrics))

    def log(self, line: str) -> None:
        self.lines.append(line)

    def lend(self, step: int, write: Callable[[Path], None]) -> dict[str, str]:
        raise AssertionError("there is one node")

    def checkpoint(
        self, step: int, write: Callable[[Path], None], lent: Mapping[str, str] | None = None
    ) -> None:
        folder = self.scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)

    def checkpoint_due(self, step: int, every: int) -> bool:
        return self._stopping(step) or step % every == 0

    def stop_if_asked(self) -> None:
        if self.reports and self._stopping(self.reports[-1][0]):
            raise StoppingError

    def _stopping(self, step: int) -> bool:
        return self.fitting and self.stop_at is not None and step >= self.stop_at


@dataclass
class Trained:
    """What a run left."""

    folder: Path
    card: ModelCard
    evaluation: dict[str, Any]
    run: LocalRun
    judgement: Judgement | None = None


def classification(images: dict[str, bytes], labels: dict[str, str]) -> Examples:
    """Examples of labelled images, both by an image's name."""
    return Examples("classification", [Item(name, label=labels[name]) for name in images], images.__getitem__)


def train_model(
    examples: Examples,
    method: str,
    folder: Path,
    *,
    base: str = "lite",
    kind: str = "encoder",
    params: dict[str, Any] | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    stop_at: int | None = None,
    restored: Path | None = None,
) -> Trained:
    """Run a method from its examples to its files; raises StoppingError where it was told to stop on the way."""
    spec = JobSpec.model_validate(
        {
            "kind": "train",
            "task": examples.task,
            "method": method,
            "base_model": base,
            "base_kind": kind,
            "params": params or {},
            "model": "test",
            "seed": seed,
        }
    )
    trainer, checked = load_method(spec)
    settings = settings or Settings(data_dir=share_engines(folder / "data"))
    run = LocalRun(spec, settings, folder / "scratch", restored, stop_at=stop_at)
    run.scratch.mkdir(parents=True, exist_ok=True)
    trainer.validate(checked, examples)
    made = trainer(run, checked, examples)
    made.prepare()
    run.fitting = True
    made.fit()
    run.fitting = False
    evaluation = made.evaluate()
    out = folder / "model"
    out.mkdir(parents=True)
    card = made.save(out)
    noted = json.loads((out / "vision.json").read_text())
    (out / "vision.json").write_text(json.dumps({**noted, "id": "test"}))
    return Trained(out, card, evaluation, run, getattr(made, "judgement", None))


def pick_examples(rows: Sequence[tuple[str, bytes, str]]) -> Examples:
    """Examples of (name, image, label)."""
    return classification({name: data for name, data, _ in rows}, {name: label for name, _, label in rows})
