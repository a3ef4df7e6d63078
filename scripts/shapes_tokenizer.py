"""Byte-level BPE tokenizers that read any text, in lower case, with whole words for easy-VQA's vocabulary."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocabulary: int,
    specials: dict[str, str],
    extra: tuple[str, ...] = (),
    wrap: str = "<s> $A",
    padding_side: str = "left",
) -> PreTrainedTokenizerFast:
    """A tokenizer over `texts`; `specials` maps roles (`bos_token`, ...) to tokens, `extra` are more of them,
    `wrap` is what is put around every text (`<s>` must be among the special tokens it names)."""
    tokens = [*specials.values(), *extra]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=wrap,
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in wrap.split() if t != "$A"],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        additional_special_tokens=list(extra),
        model_max_length=1024,
        padding_side=padding_side,
        clean_up_tokenization_spaces=False,
        **specials,
    )
