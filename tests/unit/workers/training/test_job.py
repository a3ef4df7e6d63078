"""What a training job makes of its examples before a method sees them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from app.heads import LabelShares
from app.jobs.spec import JobSpec
from app.methods.head import HeadParams
from app.methods.maml import METHOD
from app.settings import Settings
from tests.training import LocalRun
from workers.shared.examples import Examples, Item
from workers.shared.run import JobRun
from workers.training.job import _expect_labels


def found(tmp_path: Path, collection: LabelShares, asked: LabelShares | None) -> tuple[Examples, list[str]]:
    items = [Item("a", label="cup"), Item("b", label="bowl")]
    examples = Examples("classification", items, lambda name: b"", label_shares=collection)
    run = LocalRun(JobSpec(kind="train", base_kind="encoder"), Settings(data_dir=tmp_path), tmp_path)
    return _expect_labels(examples, HeadParams(label_shares=asked), cast(JobRun, run)), run.lines


@pytest.mark.parametrize(
    ("collection", "asked", "expected"),
    [
        ("equal", None, "equal"),
        ("equal", "examples", "examples"),
        ("examples", None, "examples"),
        ("examples", "equal", "equal"),
    ],
)
def test_labels_are_expected_as_the_job_says_and_else_as_the_collection_does(
    tmp_path: Path, collection: LabelShares, asked: LabelShares | None, expected: LabelShares
) -> None:
    examples, lines = found(tmp_path, collection, asked)
    assert examples.label_shares == expected
    assert len(lines) == (expected == "examples")
    assert ("as its collection does" in " ".join(lines)) == (expected == "examples" and asked is None)


def test_methods_without_the_parameter_leave_it_as_it_is(tmp_path: Path) -> None:
    examples = Examples("classification", [Item("a", label="cup")], lambda name: b"", label_shares="examples")
    run = LocalRun(JobSpec(kind="train", base_kind="encoder"), Settings(data_dir=tmp_path), tmp_path)
    assert _expect_labels(examples, METHOD.params(), cast(JobRun, run)) is examples
    assert run.lines == []
