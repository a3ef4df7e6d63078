"""CPU time by stage of a request: one clock of the thread and one counter a stage, where the settings ask for it."""

from __future__ import annotations

import threading
import time

from prometheus_client import CollectorRegistry, Counter

STAGES = ("receive", "decode", "preprocess", "forward", "score", "reply")
_AS_TIMED = {"head": "score"}
"""What `vision_stage_seconds` calls a stage, where that is another word."""
_UNCOUNTED = "queue"


class StageCpu:
    """Counts for each stage what its thread has spent since the stage before ended in the same thread."""

    def __init__(self, registry: CollectorRegistry, *, is_on: bool) -> None:
        """Nothing is counted unless it `is_on`: reading the clock ten times a request is a twentieth of one."""
        self._is_on = is_on
        self._marks = threading.local()
        if not is_on:
            return
        self._counter = Counter(
            "vision_stage_cpu_seconds",
            "CPU time of the threads that carry a stage; threads that a model's runtime starts itself are not in it.",
            ["stage"],
            registry=registry,
        )
        for stage in STAGES:
            self._counter.labels(stage)

    def begin(self) -> None:
        """A stage begins in this thread: what was spent before belongs to none."""
        if self._is_on:
            self._marks.last = time.thread_time()

    def end(self, stage: str, seconds: float) -> None:
        """The stage ended in this thread and took `seconds` by the clock, which its CPU time cannot be more than.

        So the work of others in between counts for little, where nobody said that the stage began.
        """
        if not self._is_on or stage == _UNCOUNTED:
            return
        now = time.thread_time()
        spent = now - getattr(
            self._marks, "last", now
        )  # nothing of what a thread did before it first worked here
        self._marks.last = now
        self._counter.labels(_AS_TIMED.get(stage, stage)).inc(max(0.0, min(spent, seconds)))
