"""Which of a set of labels a vision-language model means, when its answer may be nothing but one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from app.inference.prompts import Prompt
from app.jobs.errors import NotTrainableError
from workers.methods.common.calibrating import Floats, log_softmax
from workers.methods.common.vlm.lessons import Lessons


class LabelScorer:
    """Scores every label of a fixed set as the answer to a prompt."""

    def __init__(self, lessons: Lessons, labels: Sequence[str], batch: int) -> None:
        """`batch` is how many answers a forward pass scores. Raises NotTrainableError where two labels are the same
        to the model's tokenizer, which may not tell capitals apart.
        """
        self._lessons, self._batch = lessons, batch
        self._said = [lessons.tokenize_answer(label) for label in labels]
        self.longest = max(map(len, self._said))
        """Tokens of the longest label, its end included."""
        seen: dict[tuple[int, ...], str] = {}
        for label, said in zip(labels, self._said, strict=True):
            other = seen.setdefault(tuple(said), label)
            if other != label:
                raise NotTrainableError(
                    f"'{other}' and '{label}' are the same to the tokenizer of '{lessons.vlm.name}': rename one."
                )

    def probabilities(self, prompt: Prompt) -> Floats:
        """float64[labels], adding up to 1: the softmax of the logarithms of the labels' probabilities as whole answers,
        end token included, thus each label's probability given that the answer is one of them.
        """
        packed = self._lessons.vlm.pack(
            Prompt(prompt.image, prompt.text, prompt.task, max_new_tokens=self.longest)
        ).packed
        with torch.no_grad():
            losses = torch.cat([self._lessons.answer_losses(batch) for batch in self._batches(packed)])
        found: Floats = np.exp(log_softmax(-losses.double().cpu().numpy()[None])[0])
        return found

    def _batches(self, packed: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
        for start in range(0, len(self._said), self._batch):
            said = self._said[start : start + self._batch]
            yield self._lessons.stack([self._lessons.complete(packed, answer) for answer in said])
