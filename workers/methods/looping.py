"""The loop of methods that learn in steps of their own: looks at held-out examples, checkpoints, the best weights.

Knows the order, and what it must take up again to go on as if it had not stopped; what is trained, and on what, a
subclass knows.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workers.methods.base import Run

_STATE = "state.pt"
Parts = dict[str, torch.Tensor]


class Stepped:
    """A subclass sets `run`, `params`, `device` and `rng`, and says how the rest goes."""

    run: Run
    params: Any
    device: torch.device
    rng: np.random.Generator
    best_step: int

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

    def current(self) -> Parts:
        """A copy of what is trained."""
        raise NotImplementedError

    def put(self, parts: Parts) -> None:
        """Make these the weights."""
        raise NotImplementedError

    def remember(self, folder: Path) -> None:
        """Put what was computed before the first step into a checkpoint, where that saves the next attempt time."""

    def learn(self, steps: int) -> None:
        """So many steps, fewer where it got no better for longer than `patience`; ends with the best weights.

        Goes on from the run's checkpoint where there is one.
        """
        run, params, optimiser = self.run, self.params, self.optimiser()
        best, best_score, start, waited = self.current(), -math.inf, 0, 0
        self.best_step = 0
        if run.restored is None:
            best_score = _or_least(self.look()[0])  # what it starts from may be hard to beat
        else:
            best, best_score, start, waited = self._taken_up(run.restored, optimiser)
        for step in range(start + 1, steps + 1):
            figures = self.advance(step, optimiser)
            if step % params.evaluate_every == 0 or step == steps:
                score, seen = self.look()
                figures |= seen
                if score is None or score > best_score:
                    best, best_score, self.best_step, waited = self.current(), _or_least(score), step, 0
                else:
                    waited += 1
            run.step(step, steps, **figures)
            if run.checkpoint_due(step, params.checkpoint_every):
                state = {"best": best, "best_score": best_score, "step": step, "waited": waited}
                run.checkpoint(step, lambda folder, state=state: self._keep(folder, optimiser, state))  # type: ignore[misc]
                run.stop_if_asked()
            if params.patience and waited > params.patience:
                run.log(f"No better for {waited} looks: stopping after step {step}.")
                break
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

    def _taken_up(self, folder: Path, optimiser: torch.optim.Optimizer) -> tuple[Parts, float, int, int]:
        """Everything that decides the next step: weights, optimiser and both generators are as they were."""
        state = torch.load(folder / _STATE, weights_only=True, map_location=self.device)
        self.put(state["current"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch_rng"].cpu())
        self.rng.bit_generator.state = ast.literal_eval(state["numpy_rng"])
        self.best_step = state["best_step"]
        return state["best"], state["best_score"], state["step"], state["waited"]


def _or_least(score: float | None) -> float:
    return -math.inf if score is None else float(score)
