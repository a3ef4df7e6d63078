"""The one shape of every training method, and what a method may ask of the process it runs in.

In this order: validate, prepare, fit with checkpoints, evaluate, save.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from app.jobs.spec import JobSpec, ModelCard
from app.methods.params import Params
from app.settings import Settings
from workers.shared.examples import Examples, Item


class StoppingError(Exception):
    """The worker is stopping: the job goes on elsewhere, from the checkpoint that was just written."""


@dataclass(frozen=True)
class Judgement:
    """Predictions of a trained classifier for held-out images, made before it may have been trained on these too."""

    train_items: Sequence[Item]
    """The items it had been trained on."""
    items: Sequence[Item]
    """The held-out items."""
    predicted: Sequence[str]
    """The predicted label of each."""
    evaluated_on: Literal["test", "validation"]

    @property
    def chosen_by(self) -> bool:
        """Whether the best checkpoint was chosen by these images."""
        return self.evaluated_on == "validation"

    def of(self, rows: Sequence[int]) -> Judgement:
        """The same of some of the items."""
        return replace(
            self, items=[self.items[row] for row in rows], predicted=[self.predicted[row] for row in rows]
        )


class Run(Protocol):
    """One attempt of one job, as seen from inside the training process."""

    spec: JobSpec
    settings: Settings
    scratch: Path
    """Local folder of this attempt, gone afterwards."""
    restored: Path | None
    """Folder with the files of the newest checkpoint; None on a fresh start."""
    restored_step: int
    """The step that checkpoint was written after; 0 on a fresh start."""
    rank: int
    """0 unless several processes train together; only rank 0 reports, writes checkpoints and publishes."""

    def step(self, step: int, of: int, **metrics: float) -> None:
        """After each training step: report progress and metrics (sent at most a few times a second, the newest
        of each; the estimate of the time left is made from these calls).
        """

    def log(self, line: str) -> None:
        """A line in the job's log."""

    def checkpoint(
        self, step: int, write: Callable[[Path], None], lent: Mapping[str, str] | None = None
    ) -> None:
        """Have `write` fill a new folder with all that resuming needs (weights as safetensors, the rest as JSON
        or as a torch file read back with `weights_only=True`); whole and durable when this returns. `lent` are the
        files that other nodes added.
        """

    def lend(self, step: int, write: Callable[[Path], None]) -> dict[str, str]:
        """On a node that is not the first: add this node's files to the checkpoint; their names and SHA-256, which
        count once rank 0 has handed them to `checkpoint`.
        """

    def checkpoint_due(self, step: int, every: int) -> bool:
        """Whether a checkpoint is wanted after this step: every so often, and at once when stopping."""

    def stop_if_asked(self) -> None:
        """Raises StoppingError when the worker is being drained; call it right after a checkpoint."""


class TrainingMethod(Protocol):
    """A training method. One instance serves one attempt.

    One that teaches labels has an attribute `judgement`, a `Judgement`, once it has evaluated on held-out images;
    without it its model is not compared with the closed-form head.
    """

    def __init__(self, run: Run, params: Any, examples: Examples) -> None:
        """`params` is the method's class in `app.methods`, checked; nothing heavy happens here."""

    @classmethod
    def validate(cls, params: Params, examples: Examples) -> None:
        """Raise NotTrainableError, in one sentence a user understands, for what cannot be trained on."""

    def prepare(self) -> None:
        """Load the base, split the examples, build what is trained; restore `run.restored` if there is one."""

    def fit(self) -> None:
        """Train: every step calls `run.step`, checkpoints when due, then `run.stop_if_asked`."""

    def evaluate(self) -> dict[str, Any]:
        """Metrics of the best checkpoint on held-out examples, chance level beside them."""

    def save(self, folder: Path) -> ModelCard:
        """Write the model's files, `vision.json` among them, into the empty `folder`; the card names them.

        The caller fills in id, metrics, data, settings, strategy, seed and sizes.
        """
