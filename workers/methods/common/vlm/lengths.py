"""Which examples are too long for a job's `max_text_tokens`: left out, or cut while they are taught, and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.jobs.errors import NotTrainableError
from app.methods.params import TextParams
from workers.methods.common.vlm.items import MIN_TAUGHT, Sides
from workers.methods.common.vlm.lessons import Lessons
from workers.shared.examples import Item


def limit_texts(sides: Sides, lessons: Lessons, params: TextParams, log: Callable[[str], None]) -> Sides:
    """The sides without the examples that are too long; with `truncate_texts` the lessons cut the others' answers.

    Raises NotTrainableError where too few are left to learn from.
    """
    limit = params.max_text_tokens
    if limit is None:
        return sides
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

    found = Sides(keep(sides.taught), keep(sides.held_out), keep(sides.judged))
    if cut:
        log(f"{len(cut)} answers are cut: with their questions they have more than {limit} tokens")
    if gone:
        log(f"{len(gone)} examples of more than {limit} tokens of question and answer are left out")
    if len(found.taught) < MIN_TAUGHT:
        raise NotTrainableError(
            f"{len(found.taught)} examples to learn from have at most {limit} tokens of question and answer; "
            f"{MIN_TAUGHT} are the least."
        )
    return found
