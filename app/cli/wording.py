"""The service's sentences in the words of the command line: a command where they name an HTTP call, a flag where they
name a field.
"""

from __future__ import annotations

import re

_COLLECTION = r"/v1/collections/(?P<name>[^\s/,.;:]+(?:\.[^\s/,.;:]+)*)"
_WORDS: tuple[tuple[str, str], ...] = (
    (
        rf"POST {_COLLECTION}/answers, or `vision fewshot add-example`",
        "`vision fewshot add-example -c {name}`",
    ),
    (rf"POST {_COLLECTION}/answers", "`vision fewshot add-example -c {name}`"),
    (rf"GET {_COLLECTION}/examples", "`vision oneshot list-examples`"),
    (rf"GET {_COLLECTION}/answers", "`vision fewshot list-examples`"),
    (r"POST /v1/collections with the name '(?P<name>[^']+)'", "`vision collections create {name}`"),
    (rf"POST {_COLLECTION}/examples", "`vision oneshot learn -c {name}`"),
    (rf"PATCH {_COLLECTION}", "`vision collections bind {name} --encoder NAME`"),
    (r"GET /v1/strategies or `vision strategies list`", "`vision strategies list`"),
    (r"GET /v1/strategies", "`vision strategies list`"),
    (r"GET /v1/datasets/(?P<name>[0-9a-f-]+)", "`vision datasets show {name}`"),
    (r"POST /v1/datasets/(?P<name>[0-9a-f-]+)/teach", "`vision datasets teach {name}`"),
    (r"GET /v1/datasets", "`vision datasets list`"),
    (r"GET /v1/jobs", "`vision jobs list`"),
    (r"GET /v1/keys", "`vision keys list`"),
    (r"POST /v1/datasets", "`vision manyshot prepare-dataset`"),
    (r"GET /v1/models", "`vision models list`"),
    (r"POST /v1/classify", "`vision oneshot classify`"),
    (r"send `merge: true`", "pass --merge"),
    (r"POST /v1/vqa", "`vision fewshot query`"),
    (r"\bparams\.(?P<name>[a-z_.]+)", "--param {name}"),
    # `manyshot train` writes these three of a configuration; a file's own fields are checked before it is sent
    (r"\bconfig\.training_args\.num_epochs", "--epochs"),
    (r"\bconfig\.training_args\.batch_size", "--batch-size"),
    (r"\bconfig\.training_args\.learning_rate", "--learning-rate"),
    # fields that begin a refusal and are flags of the command that sent them
    (r"^metrics\.\d+: ", "--metric: "),
    (r"^learning_type: ", "--learning-type: "),
    (r"^dataset_size: ", "--dataset-size: "),
    (
        r"^(?P<name>hardware|format|boxes|split|seed|task|question|label|description|threshold|strategy): ",
        "--{name}: ",
    ),
    (r"\blabels_from=", "--labels-from "),
    (r"\bown_split=", "--own-split "),
    (r"`text_encoder: true`", "--text-encoder"),
    (r"leave text_encoder out", "leave --text-encoder out"),
    (r"`base_model`", "base model (--base-model, or --model of `vision manyshot train`)"),
)
"""Pattern -> what a person at a command line reads; the longer ones first."""


def in_flags(sentence: str) -> str:
    """The sentence without HTTP calls or fields that have a command or a flag of their own."""
    for pattern, words in _WORDS:
        sentence = re.sub(pattern, lambda found, words=words: words.format(**found.groupdict()), sentence)  # type: ignore[misc]
    return sentence


def count_examples(count: int) -> str:
    """`1 example`, `2 examples`."""
    return f"{count} example{'' if count == 1 else 's'}"
