"""A row of a batch sends its text as it grows, whole letters only, and decodes nothing where nobody listens."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from app.inference.generation.rows import Row
from app.inference.prompts import Answer, Generation, Sampling
from app.inference.sources import CHECKPOINTS

END = frozenset({-1})


@pytest.fixture(scope="module", params=["llava-shapes", "blip-shapes-vqa", "flamingo-shapes"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return transformers.AutoTokenizer.from_pretrained(CHECKPOINTS / request.param)


def generation(most: int, **more: Any) -> Generation:
    return Generation({}, prompt_tokens=3, max_new_tokens=most, sampling=Sampling(), **more)


@pytest.mark.parametrize("text", ["a red circle", "is it blue? no, green.", "ein Lama 🦙 und 漢字", " "])
def test_pieces_add_up_to_what_the_tokens_say(tokenizer: Any, text: str) -> None:
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    pieces: list[str] = []
    ended: list[Answer] = []
    row = Row(generation(100, on_text=pieces.append, on_done=ended.append), tokenizer, END)
    for token in [*tokens, -1, 5]:
        row.push(token)
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    assert "".join(pieces) == whole.lstrip()
    assert ended == [Answer(whole.strip(), 3, len(tokens), "stop")]
    if len(whole.split()) > 1:
        assert len(pieces) > 1
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces[:-1])


def test_what_was_sent_before_a_second_try_is_not_sent_again(tokenizer: Any) -> None:
    tokens = tokenizer("a red circle", add_special_tokens=False).input_ids
    pieces: list[str] = []
    asked = generation(100, on_text=pieces.append)
    first = Row(asked, tokenizer, END)
    for token in tokens[:-1]:
        first.push(token)
    second = Row(asked, tokenizer, END)
    for token in [*tokens, -1]:
        second.push(token)
    assert second.answer is not None
    assert "".join(pieces) == second.answer.text


def test_nothing_is_decoded_before_the_end_where_nobody_listens() -> None:
    class Counting:
        calls = 0

        def decode(self, tokens: list[int], **_: Any) -> str:
            self.calls += 1
            return " ".join(map(str, tokens))

    tokenizer = Counting()
    row = Row(generation(4), tokenizer, END)
    for token in range(4):
        row.push(token)
    assert row.answer == Answer("0 1 2 3", 3, 4, "length")
    assert tokenizer.calls == 1


def test_a_row_whose_asker_left_ends_at_its_next_token(tokenizer: Any) -> None:
    row = Row(generation(4, cancelled=lambda: True), tokenizer, END)
    row.push(7)
    assert row.answer is not None
    assert (row.answer.finish_reason, row.answer.completion_tokens) == ("cancelled", 1)
