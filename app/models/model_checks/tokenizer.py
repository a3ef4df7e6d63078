"""An uploaded `tokenizer.json`: known steps alone, each bounded, so that a text becomes few tokens in little time.

The format is that of the `tokenizers` library. A step can multiply a text ("a" becomes "aa", thirty times over), a
padding can ask for four billion tokens, and a regular expression can take for ever: patterns are compared with those
that published tokenizers use, and no other is compiled.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any

from app.errors import InvalidInputError

FILE = "tokenizer.json"
MAX_VOCABULARY = 600_000
MAX_MERGES = 1_200_000
MAX_ADDED_TOKENS = 10_000
MAX_TOKEN_CHARS = 512
MAX_STEPS = 24
MAX_GROWTH = 8
"""How many times longer the steps may make a text."""
MAX_TABLE_GROWTH = 16
"""The same where one of them is a table of characters: NFKC's makes a text up to 11 times longer."""
MAX_PADDING = 16_384
MAX_PIECES = 8
MAX_PIECE_IDS = 16
_MAX_CHARSMAP_CHARS = 1 << 20
_MAX_CHARSMAP_GROWTH = 64
"""Bytes that a character becomes by a table; NFKC's longest take 33."""
_CHARACTER_BYTES = 3
"""Of the character with the longest text by NFKC, U+FDFA in UTF-8."""
_DEPTH = 4

PATTERNS = frozenset(
    {
        *(r"\s+", r" {2,}", r"\s", r"\s{2,}", r"\d{1,3}", r"[\r\n]", r"[0-9]", r"\p{N}{1,3}", r"\p{N}"),
        # CLIP
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        # GPT-2
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        # Llama 3, Qwen 2
        *(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
            + digits
            + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            for digits in (r"\p{N}{1,3}", r"\p{N}")
        ),
    }
)
"""Regular expressions of published tokenizers, each of which takes time in proportion to the text."""

_CHARACTER_CLASS = re.compile(r"\[\^?(?:[^\[\]\\&]|&(?!&)|\\.)+\]\+?")
"""One set of characters, such as SigLIP's punctuation: whatever is in it, a match is found in one pass."""

_KEYS = frozenset(
    {
        *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer"),
        *("post_processor", "decoder", "model"),
    }
)
_NORMALIZERS = frozenset(
    {
        *("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Nmt", "ByteLevel"),
        *("BertNormalizer", "Prepend", "Replace", "Precompiled"),
    }
)
_PRE_TOKENIZERS = frozenset(
    {
        *("ByteLevel", "Whitespace", "WhitespaceSplit", "Metaspace", "Split", "Punctuation", "Digits"),
        *("BertPreTokenizer", "CharDelimiterSplit", "UnicodeScripts"),
    }
)
_POST_PROCESSORS = frozenset({"ByteLevel", "BertProcessing", "RobertaProcessing", "TemplateProcessing"})
_DECODERS = frozenset(
    {
        *("ByteLevel", "WordPiece", "Metaspace", "BPEDecoder", "ByteFallback", "Fuse", "Strip"),
        *("Replace", "CTC"),
    }
)
_MODELS = frozenset({"BPE", "WordPiece", "Unigram", "WordLevel"})


def check_tokenizer(read: Any) -> None:
    """Raise InvalidInputError naming what goes beyond a tokenizer that is served; `read` is the file's JSON."""
    if not isinstance(read, dict) or not read.keys() <= _KEYS:
        raise _refuse("it has parts that no tokenizer has")
    _check_model(read.get("model"))
    check_added(read.get("added_tokens") or [])
    _check_steps(read.get("normalizer"), "normalizer", "normalizers", _NORMALIZERS)
    _check_steps(read.get("pre_tokenizer"), "pre_tokenizer", "pretokenizers", _PRE_TOKENIZERS)
    _check_steps(read.get("post_processor"), "post_processor", "processors", _POST_PROCESSORS)
    _check_steps(read.get("decoder"), "decoder", "decoders", _DECODERS)
    _check_padding(read.get("padding"), read.get("truncation"))


def _refuse(reason: str, name: str = FILE) -> InvalidInputError:
    return InvalidInputError(f"{name}: {reason}.")


def _check_model(model: Any) -> None:
    if not isinstance(model, dict):
        raise _refuse("it has no model")
    vocabulary = model.get("vocab")
    if model.get("type", "BPE") not in _MODELS or not isinstance(vocabulary, dict | list):
        raise _refuse(f"model: of the types {', '.join(sorted(_MODELS))}, with a vocabulary")
    if len(vocabulary) > MAX_VOCABULARY:
        raise _refuse(f"model: a vocabulary of more than {MAX_VOCABULARY} words")
    if isinstance(vocabulary, dict):
        words, ids = vocabulary.keys(), vocabulary.values()
        if not all(isinstance(number, int) and 0 <= number < 2 * MAX_VOCABULARY for number in ids):
            raise _refuse("model: an id of the vocabulary is out of range")
    else:
        if not all(_is_scored(row) for row in vocabulary):
            raise _refuse("model: a word of the vocabulary has no finite score")
        words = {row[0]: None for row in vocabulary}.keys()
    if any(len(word) > MAX_TOKEN_CHARS for word in words):
        raise _refuse(f"model: a word of more than {MAX_TOKEN_CHARS} characters")
    merges = model.get("merges") or []
    if not isinstance(merges, list) or len(merges) > MAX_MERGES:
        raise _refuse(f"model: more than {MAX_MERGES} merges")
    if any(len(merge) > 2 * MAX_TOKEN_CHARS + 1 for merge in merges if isinstance(merge, str | list)):
        raise _refuse("model: a merge is too long")
    longest = model.get("max_input_chars_per_word", 0)
    if not isinstance(longest, int) or not 0 <= longest <= 1_000:
        raise _refuse("model: max_input_chars_per_word is larger than 1000")
    if model.get("dropout"):
        raise _refuse("model: dropout is for training alone")
    for key, value in model.items():
        if isinstance(value, str) and len(value) > MAX_TOKEN_CHARS:
            raise _refuse(f"model: {key[:40]} is too long")


def _is_scored(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 2
        and isinstance(row[0], str)
        and isinstance(row[1], int | float)
        and math.isfinite(row[1])
    )


def check_added(tokens: Any, name: str = FILE) -> None:
    """Raise InvalidInputError unless `tokens` of file `name` are a list of objects with a `content` and an `id`."""
    if not isinstance(tokens, list) or len(tokens) > MAX_ADDED_TOKENS:
        raise _refuse(f"added_tokens: more than {MAX_ADDED_TOKENS}", name)
    for token in tokens:
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or not 0 < len(content) <= MAX_TOKEN_CHARS:
            raise _refuse(f"added_tokens: each has a text of 1 to {MAX_TOKEN_CHARS} characters", name)
        number = token.get("id")
        if not isinstance(number, int) or not 0 <= number < 2 * MAX_VOCABULARY:
            raise _refuse("added_tokens: an id is out of range", name)


def _check_steps(step: Any, part: str, inner: str, known: frozenset[str]) -> None:
    """One part of the way from text to tokens or back: a step, or a sequence of them."""
    growth = 1.0
    steps = _flatten(step, part, inner)
    if len(steps) > MAX_STEPS:
        raise _refuse(f"{part}: more than {MAX_STEPS} steps")
    for kind, about in steps:
        if kind not in known:
            raise _refuse(f"{part}: '{kind[:40]}' is not among the steps that are served")
        growth *= _growth(kind, about, part)
    tables = sum(kind == "Precompiled" for kind, _ in steps)
    if tables > 1:
        raise _refuse(f"{part}: more than one precompiled_charsmap")
    max_growth = MAX_TABLE_GROWTH if tables else MAX_GROWTH
    if growth > max_growth:
        raise _refuse(f"{part}: it makes texts more than {max_growth} times longer")


def _flatten(step: Any, part: str, inner: str, depth: int = 0) -> list[tuple[str, dict[str, Any]]]:
    if step is None:
        return []
    if not isinstance(step, dict) or depth > _DEPTH:
        raise _refuse(f"{part}: it cannot be read")
    if step.get("type") != "Sequence":
        return [(str(step.get("type")), step)]
    listed = step.get(inner)
    if not isinstance(listed, list) or len(listed) > MAX_STEPS:
        raise _refuse(f"{part}: a sequence of at most {MAX_STEPS} steps")
    return [found for item in listed for found in _flatten(item, part, inner, depth + 1)]


def _growth(kind: str, about: dict[str, Any], part: str) -> float:
    """How many times longer the step can make a text; raises InvalidInputError where it is not bounded."""
    for key, value in about.items():
        longest = _MAX_CHARSMAP_CHARS if key == "precompiled_charsmap" else MAX_TOKEN_CHARS
        if isinstance(value, str) and len(value) > longest:
            raise _refuse(f"{part}: {key[:40]} is too long")
        if isinstance(value, int) and value > MAX_PADDING:
            raise _refuse(f"{part}: {key[:40]} is too large")
    if kind == "Prepend":
        return 1 + len(str(about.get("prepend", ""))) / 8
    if kind == "Precompiled":
        return _charsmap_growth(about.get("precompiled_charsmap"), part)
    if kind == "TemplateProcessing":
        _check_template(about, part)
    if kind in ("Replace", "Split"):
        shortest = _check_pattern(about.get("pattern"), part)
        return max(1.0, len(str(about.get("content", ""))) / shortest) if kind == "Replace" else 1.0
    return 1.0


def _check_pattern(pattern: Any, part: str) -> int:
    """Length of the shortest text that the pattern takes out."""
    if isinstance(pattern, dict) and len(pattern) == 1:
        ((kind, text),) = pattern.items()
        if kind == "String" and isinstance(text, str) and 0 < len(text) <= MAX_TOKEN_CHARS:
            return len(text)
        if kind == "Regex" and isinstance(text, str) and _is_known(text):
            return 1
    raise _refuse(f"{part}: a pattern that is not among those of published tokenizers")


def _is_known(pattern: str) -> bool:
    return pattern in PATTERNS or (
        len(pattern) <= MAX_TOKEN_CHARS and _CHARACTER_CLASS.fullmatch(pattern) is not None
    )


def _charsmap_growth(table: Any, part: str) -> float:
    """How many times longer a table of characters makes a text, raising InvalidInputError for a damaged one.

    SentencePiece's format: a 4-byte size, a trie of that size, texts that end with a NUL each.
    """
    try:
        data = base64.b64decode(table, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _refuse(f"{part}: precompiled_charsmap cannot be read") from None
    size = int.from_bytes(data[:4], "little")
    longest = max(map(len, data[4 + size :].split(b"\0")))
    if size % 4 or len(data) < 4 + size or longest > _MAX_CHARSMAP_GROWTH:
        raise _refuse(f"{part}: precompiled_charsmap is damaged, or makes texts too long")
    return max(1.0, longest / _CHARACTER_BYTES)


def _check_template(about: dict[str, Any], part: str) -> None:
    for name in ("single", "pair"):
        pieces = about.get(name) or []
        if not isinstance(pieces, list) or len(pieces) > MAX_PIECES:
            raise _refuse(f"{part}: {name}: more than {MAX_PIECES} pieces")
        if sum("Sequence" in piece for piece in pieces if isinstance(piece, dict)) > 2:
            raise _refuse(f"{part}: {name}: a text stands in it more than twice")
    specials = about.get("special_tokens") or {}
    rows = specials.values() if isinstance(specials, dict) else [None]
    if len(rows) > MAX_PIECES or any(
        not isinstance(row, dict) or len(row.get("ids") or []) > MAX_PIECE_IDS for row in rows
    ):
        raise _refuse(f"{part}: its special tokens are too many")


def _check_padding(padding: Any, truncation: Any) -> None:
    padding, truncation = padding or {}, truncation or {}
    if not isinstance(padding, dict) or not isinstance(truncation, dict):
        raise _refuse("padding and truncation are objects")
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else 0
    for name, value, most in (
        ("padding", fixed, MAX_PADDING),
        ("padding: pad_to_multiple_of", padding.get("pad_to_multiple_of") or 0, MAX_PADDING),
        ("truncation: max_length", truncation.get("max_length") or 0, 100_000_000),
        ("truncation: stride", truncation.get("stride") or 0, 0),
    ):
        if not isinstance(value, int) or not 0 <= value <= most:
            raise _refuse(f"{name} is larger than {most}")
    if len(str(padding.get("pad_token", ""))) > MAX_TOKEN_CHARS:
        raise _refuse("padding: pad_token is too long")
