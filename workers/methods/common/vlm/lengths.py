"""Which examples are too long for a job's `max_text_tokens`: left out, or cut while they are taught, and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.jobs.errors import NotTrainableError
from app.methods.params import TextParams
from workers.methods.common.vlm.items import MIN_TRAINING_ITEMS, ItemSplits
from workers.methods.common.vlm.lessons import Lessons
from workers.shared.examples import Item


def limit_texts(
    splits: ItemSplits, lessons: Lessons, params: TextParams, log: Callable[[str], None]
) -> ItemSplits:
    """The splits without the examples that are too long; with `truncate_texts` the lessons cut the others' answers.

    Raises NotTrainableError where too few are left to learn from.
    """
    limit = params.max_text_tokens
    if limit is None:
        return splits
    if params.truncate_texts:
        lessons.limit = limit
    cut: set[int] = set()
    gone: set[int] = set()
    kept: dict[int, list[Item]] = {}

    def keep(items: Sequence[Item]) -> list[Item]:
        """One list for each, so that a side that is another one too stays so."""
        if id(items) not in kept:
            kept[id(items)] = [item for item in items if fits(item)]
        return kept[id(items)]

    def fits(item: Item) -> bool:
        asked = lessons.question_tokens(item.question or "")
        if asked + len(lessons.tokenize_answer(item.answer or "")) <= limit:
            return True
        possible = params.truncate_texts and asked < limit
        (cut if possible else gone).add(id(item))
        return possible

    found = ItemSplits(keep(splits.train), keep(splits.held_out), keep(splits.evaluation))
    if cut:
        log(f"{len(cut)} answers are cut: with their questions they have more than {limit} tokens")
    if gone:
        log(f"{len(gone)} examples of more than {limit} tokens of question and answer are left out")
    if len(found.train) < MIN_TRAINING_ITEMS:
        raise NotTrainableError(
            f"{len(found.train)} examples to learn from have at most {limit} tokens of question and answer; "
            f"{MIN_TRAINING_ITEMS} are the least."
        )
    return found
