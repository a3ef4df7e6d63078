"""The loop of methods that learn in steps of their own: looks at held-out examples, checkpoints, the best weights."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from app.methods.params import DEFAULT_PATIENCE
from workers.shared.method import Run

_STATE = "state.pt"
Parts = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pass:
    """So many steps of a job, which may make several passes."""

    steps: int
    before: int = 0
    """Steps of the passes before it."""
    after: int = 0
    """Steps that may come after it, at most."""
    note: dict[str, Any] = field(default_factory=dict)
    """What its checkpoints tell the next attempt, as JSON: `read_note` reads it."""


class StepLoop:
    """A subclass sets `run`, `params`, `device` and `rng`, and says how the rest goes."""

    run: Run
    params: Any
    device: torch.device
    rng: np.random.Generator
    best_step: int
    default_patience: ClassVar[int] = DEFAULT_PATIENCE
    last_step: int
    """The last one made of the pass."""

    def optimiser(self) -> torch.optim.Optimizer:
        """What moves the weights."""
        raise NotImplementedError

    def advance(self, step: int, optimiser: torch.optim.Optimizer) -> dict[str, float]:
        """One step; its figures."""
        raise NotImplementedError

    def look(self) -> tuple[float | None, dict[str, float]]:
        """How good the weights are, larger being better, and the figures behind it; None where nothing is there to
        choose by, so that the last weights count.
        """
        raise NotImplementedError

    def tolerance(self, best: float) -> float:
        """How much worse than the best score a later look may be and still count as its equal: the noise of looking."""
        return 0.0

    def current(self) -> Parts:
        """A copy of what is trained."""
        raise NotImplementedError

    def put(self, parts: Parts) -> None:
        """Make these the weights."""
        raise NotImplementedError

    def remember(self, folder: Path) -> None:
        """Put what was computed before the first step into a checkpoint, where that saves the next attempt time."""

    def learn(self, one: Pass, came_from: Path | None) -> None:
        """Make the pass, shorter where it got no better for longer than `patience`; ends with the best weights, or
        the last ones within `tolerance` of these that are no worse than what it began from.

        Goes on from the checkpoint in `came_from` where there is one, which must be of this pass.
        """
        run, params, optimiser = self.run, self.params, self.optimiser()
        patience = self.default_patience if params.patience is None else params.patience
        best, step, waited = self.current(), 0, 0
        self.best_step = 0
        if came_from is None:
            start = best_score = _or_least(self.look()[0])  # what it starts from may be hard to beat
        else:
            best, best_score, start, step, waited = self._resume(came_from, optimiser)
        while step < one.steps:
            step += 1
            figures = self.advance(step, optimiser)
            if step % params.evaluate_every == 0 or step == one.steps:
                score, seen = self.look()
                figures |= seen
                better = score is None or score > best_score
                waited = 0 if better else waited + 1
                if better:
                    best_score = _or_least(score)
                if better or _or_least(score) > max(best_score - self.tolerance(best_score), start):
                    best, self.best_step = self.current(), step
            made = one.before + step
            run.step(made, one.before + one.steps + one.after, **figures)
            if run.checkpoint_due(made, params.checkpoint_every):
                state = {"best": best, "best_score": best_score, "step": step, "waited": waited}
                state["start"] = start
                state["note"] = json.dumps(one.note)
                run.checkpoint(made, lambda folder, state=state: self._keep(folder, optimiser, state))  # type: ignore[misc]
                run.stop_if_asked()
            if patience and waited > patience:
                run.log(f"No better for {waited} looks: stopping after step {step}.")
                break
        self.last_step = step
        self.put(best)

    def _keep(self, folder: Path, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        self.remember(folder)
        more = {
            "current": self.current(),
            "best_step": self.best_step,
            "optimiser": optimiser.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "numpy_rng": repr(self.rng.bit_generator.state),
        }
        torch.save({**state, **more}, folder / _STATE)

    def _resume(self, folder: Path, optimiser: torch.optim.Optimizer) -> tuple[Parts, float, float, int, int]:
        """Everything that decides the next step: weights, optimiser and both generators are as they were."""
        state = torch.load(folder / _STATE, weights_only=True, map_location=self.device)
        self.put(state["current"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_rng"].cpu())
        self.rng.bit_generator.state = ast.literal_eval(state["numpy_rng"])
        self.best_step = state["best_step"]
        start = state.get("start", -math.inf)  # a checkpoint of an older version has none
        return state["best"], state["best_score"], start, state["step"], state["waited"]


def read_note(folder: Path | None) -> dict[str, Any]:
    """The note of the pass that wrote this checkpoint; empty without one."""
    if folder is None:
        return {}
    state = torch.load(folder / _STATE, weights_only=True, map_location="cpu")
    found: dict[str, Any] = json.loads(state["note"])
    return found


def _or_least(score: float | None) -> float:
    return -math.inf if score is None else float(score)
