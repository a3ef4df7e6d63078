"""Chat templates of uploads: published ones are rendered, hostile ones ended."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from app.inference.chat_templates import MAX_VALUE_BYTES, check_template, render
from app.inference.errors import ChatTemplateError

TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A ball."}]},
]


LLAVA_15 = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "written"),
    [
        (LLAVA_15, "USER: <image>\nWhat is it? ASSISTANT: A ball. ASSISTANT:"),
        (
            SMOLVLM,
            "<|im_start|>User:<image>What is it?<end_of_utterance>\n"
            "Assistant: A ball.<end_of_utterance>\nAssistant:",
        ),
    ],
)
def test_published_templates_are_rendered(template: str, written: str) -> None:
    check_template(template)
    assert render(template, TURNS, {}, answering=True, name="it") == written


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = [n.x, n.x]|join %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x|replace('a', 'aa') %}{% endfor %}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = {'a': n.x} %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}"
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = twice(n.x) %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x|tojson %}{% endfor %}",
        "{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages | pprint }}",
        "{{ messages }}",
        "{{ " + "(" * 5_000 + ")" * 5_000 + " }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_hostile_template_is_ended(template: str) -> None:
    with pytest.raises(ChatTemplateError, match="chat template of 'it'"):
        render(template, TURNS, {}, answering=True, name="it")


DOUBLED = (
    "{% set n = namespace(x='😀中 ', l=[]) %}{% for i in range(14) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
)


HOARDED = "{% set n.l = n.l + [VALUE] %}"


@pytest.mark.parametrize(
    "kept",
    [
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x ~ i") + "{% endfor %}",
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x[i:]") + "{% endfor %}",
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x|upper") + "{% endfor %}",
        "{% for i in range(9000) %}" + HOARDED.replace("VALUE", "n.x.strip()") + "{% endfor %}",
        "{% for i in range(9000) %}"
        + HOARDED.replace("VALUE", "n.x.replace('a', 'b') ~ ''")
        + "{% endfor %}",
        "{% for i in range(9000) %}{% set t %}{{ n.x }}{{ i }}{% endset %}"
        + HOARDED.replace("VALUE", "t")
        + "{% endfor %}",
        "{% for i in range(13) %}{% set n.l = (n.l or [n.x]) + (n.l or [n.x]) %}{% endfor %}{{ n.l|sort|length }}",
        "{% for i in range(9000) %}{% set n.l = namespace(p=n.l, x=n.x.split(' ')) %}{% endfor %}",
        "{{ n.x|list|length }}",
        "{% for i in range(20) %}{% set n.x = n.x|tojson %}{% endfor %}",
    ],
)
def test_a_template_that_keeps_many_values_is_ended_while_they_are_few(kept: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ChatTemplateError, match=r"more memory|too long") as kept_error:
            render(DOUBLED + kept, TURNS, {}, answering=True, name="it")
        assert tracemalloc.get_traced_memory()[1] < MAX_VALUE_BYTES + (16 << 20)
        # nothing of them is left, though the error still is
        assert tracemalloc.get_traced_memory()[0] < 4 << 20
        assert kept_error.value.__context__ is None
    finally:
        tracemalloc.stop()


def test_a_template_that_appends_every_turn_renders_the_longest_conversation() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "中" * 1_990 + f"😀{turn}"}]}
        for turn in range(32)
    ]
    template = (
        "{% set n = namespace(x='') %}{% for m in messages %}{% set n.x = n.x ~ m.role ~ ': ' ~ m.content[0].text %}"
        "{% endfor %}{{ n.x }}"
    )
    written = render(template, turns, {}, answering=True, name="it")
    assert written.count("user: ") == 32
    assert written.endswith("31")
