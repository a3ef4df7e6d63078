"""What the commands let one choose from is what the service takes."""

from __future__ import annotations

from typing import get_args

from app.cli import manyshot
from app.methods.tasks import Metric
from app.training.routes.models import EvaluationRequest


def test_figures_and_splits_are_those_of_an_evaluation() -> None:
    assert tuple(manyshot.Figure) == get_args(Metric)
    assert get_args(manyshot._JudgedSplit) == get_args(EvaluationRequest.model_fields["split"].annotation)
