"""What a label says to an encoder."""

from __future__ import annotations

from app.collections.texts import TEMPLATES, prompts


def test_a_label_stands_in_every_template() -> None:
    assert prompts("coffee_mug") == [template.replace("{}", "coffee mug") for template in TEMPLATES]


def test_a_description_adds_a_sentence() -> None:
    assert prompts("mug", "white ceramic")[-1] == "mug, white ceramic"


def test_odd_labels_say_something() -> None:
    for label in ("___", "{}", "{0}", "100%", "a{b"):
        assert all(sentence.strip() for sentence in prompts(label))
    assert "a photo of a {0}." in prompts("{0}")
