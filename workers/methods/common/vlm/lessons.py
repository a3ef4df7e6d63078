"""How a vision-language model is shown an answer: which tokens, which loss.

The prompts come from the code that serves them (`app.families.vlms`), so that training and serving cannot drift
apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from app.families.transformers_vlm import TransformersVlm
from app.inference.prompts import Prompt

Tensors = dict[str, torch.Tensor]
IGNORED = -100
"""The label of a token that is given, not learned."""


class Lessons:
    """A decoder that reads image, question and answer as one sequence."""

    def __init__(self, vlm: TransformersVlm) -> None:
        self.vlm = vlm
        end = sorted(vlm.end_tokens())
        own = vlm.processor.tokenizer.eos_token_id
        self.end = own if own in end else end[0]
        """The token that ends a taught answer."""
        self.limit: int | None = None
        """Tokens of question and answer that a lesson has at most; a longer answer is cut, and its end not taught."""

    def lesson(self, prompt: Prompt, answer: str) -> Tensors:
        """One prompt and its answer, batch size 1; `labels` int64[1, length] are the answer's tokens and its end.

        Raises QuestionTooLongError.
        """
        said = self.within(prompt.text, self.tokenize_answer(answer))
        return self.complete(self.vlm.pack(_with_room(prompt, len(said))).packed, said)

    def complete(self, prompt: Tensors, said: Sequence[int]) -> Tensors:
        """A packed prompt, which stays as it is, followed by the tokens of an answer; see `lesson`."""
        said, packed = list(said), dict(prompt)
        given = packed["input_ids"].shape[1]
        packed["input_ids"] = torch.cat([packed["input_ids"], torch.tensor([said])], dim=1)
        packed["attention_mask"] = functional.pad(packed["attention_mask"], (0, len(said)), value=1)
        if "image_attention_mask" in packed:  # the answer sees the image that the question saw last
            mask = packed["image_attention_mask"]
            packed["image_attention_mask"] = torch.cat([mask, mask[:, -1:].expand(-1, len(said), -1)], dim=1)
        packed["labels"] = torch.tensor([[IGNORED] * given + said])
        return packed

    def tokenize_answer(self, answer: str) -> list[int]:
        """The tokens a model should generate for this answer, the end among them."""
        return [*self._tokens(self.vlm.clean(answer), self.vlm.answer_lead()), self.end]

    def question_tokens(self, question: str) -> int:
        """How many tokens a question has by itself."""
        return len(self.vlm.processor.tokenizer.encode(self.vlm.clean(question), add_special_tokens=False))

    def within(self, question: str, said: list[int]) -> list[int]:
        """An answer's tokens, without those that the limit leaves no room for."""
        return said if self.limit is None else said[: max(self.limit - self.question_tokens(question), 1)]

    def loss(self, batch: Tensors) -> torch.Tensor:
        """Cross-entropy: the mean over an answer's tokens, then over answers, so that a long one counts as much as a
        short one.
        """
        losses = self.answer_losses(batch)
        return (losses / (batch["labels"][:, 1:] != IGNORED).sum(1)).mean()

    def answer_losses(self, batch: Tensors) -> torch.Tensor:
        """float32[b]: the negative logarithm of each whole answer's probability, its end token included."""
        # padding lies behind what counts, where no token looks: without a mask torch takes its fastest attention
        inputs = {key: value for key, value in batch.items() if key not in ("labels", "attention_mask")}
        labels = batch["labels"]
        # of a prompt with hundreds of image tokens no logits are made: they take more memory than all activations
        begin = max(int((labels != IGNORED).any(0).int().argmax()) - 1, 0)
        kept = labels[:, begin:]
        logits = self.vlm.model(**inputs, use_cache=False, logits_to_keep=kept.shape[1]).logits
        return summed_losses(logits, kept)

    def batch(self, taught: Sequence[tuple[Prompt, str]]) -> Tensors:
        """Prompts and their answers on the model's device, padded behind."""
        return self.move(self.collate(taught))

    def collate(self, taught: Sequence[tuple[Prompt, str]]) -> Tensors:
        """The same on the CPU, where a loader may pin it and the processes of a loader may make it."""
        return self.vlm.collate([self.lesson(prompt, answer) for prompt, answer in taught], left=False)

    def stack(self, lessons: Sequence[Tensors]) -> Tensors:
        """Lessons of batch size 1 as one batch on the model's device, padded behind."""
        return self.move(self.vlm.collate(lessons, left=False))

    def move(self, batch: Tensors) -> Tensors:
        """A batch on the model's device, pixels in the number format of its weights."""
        return {
            key: value.to(self.vlm.device, self.vlm.model.dtype if value.is_floating_point() else None)
            for key, value in batch.items()
        }

    def _tokens(self, answer: str, lead: str) -> list[int]:
        """The answer's tokens where it follows `lead`: some tokenizers split a lone text as no model sees it."""
        tokenizer = self.vlm.processor.tokenizer
        before = ":" if lead else "\n"
        alone = tokenizer.encode(before, add_special_tokens=False)
        joined = tokenizer.encode(f"{before}{lead}{answer}", add_special_tokens=False)
        if joined[: len(alone)] == alone and len(joined) > len(alone):
            return list(joined[len(alone) :])
        return list(tokenizer.encode(f"{lead}{answer}", add_special_tokens=False))


class ContinuationLessons(Lessons):
    """A decoder that continues a text and looks at the image through cross-attention."""

    def lesson(self, prompt: Prompt, answer: str) -> Tensors:
        """As `generate` begins: [DEC], the prompt without its [CLS] and [SEP], then the caption and [SEP]."""
        packed = self.vlm.pack(_with_room(prompt, 0)).packed
        given = packed["input_ids"][0, 1:-1].tolist() if "input_ids" in packed else []
        whole = [*self._tokens(self.vlm.clean(answer), " " if given else ""), self.end]
        said = self.within(prompt.text, whole)
        packed = self.vlm.pack(_with_room(prompt, len(said))).packed
        begun = [self.vlm.model.config.text_config.bos_token_id, *given]
        ids = torch.tensor([begun + said])
        return {
            "pixel_values": packed["pixel_values"],
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": torch.tensor([[IGNORED] * len(begun) + said]),
        }

    def answer_losses(self, batch: Tensors) -> torch.Tensor:
        """Through the parts of the model, whose own forward smooths the labels."""
        model = self.vlm.model
        seen = model.vision_model(pixel_values=batch["pixel_values"]).last_hidden_state
        logits = model.text_decoder(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            encoder_hidden_states=seen,
            use_cache=False,
        ).logits
        return summed_losses(logits, batch["labels"])


class DecoderLessons(Lessons):
    """An encoder reads the question beside the image, a decoder writes the answer."""

    def tokenize_answer(self, answer: str) -> list[int]:
        """See `Lessons`: the decoder begins with the answer itself."""
        return [*self._tokens(self.vlm.clean(answer), ""), self.end]

    def complete(self, prompt: Tensors, said: Sequence[int]) -> Tensors:
        packed = dict(prompt)
        start = self.vlm.model.decoder_start_token_id
        packed["decoder_input_ids"] = torch.tensor([[start, *said]])
        packed["labels"] = torch.tensor([[IGNORED, *said]])
        return packed

    def answer_losses(self, batch: Tensors) -> torch.Tensor:
        """Likewise; what pads a question is hidden from its answer. Answers are padded behind, where no token looks."""
        model = self.vlm.model
        seen = model.vision_model(pixel_values=batch["pixel_values"]).last_hidden_state
        asked = model.text_encoder(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            encoder_hidden_states=seen,
        ).last_hidden_state
        logits = model.text_decoder(
            input_ids=batch["decoder_input_ids"],
            encoder_hidden_states=asked,
            encoder_attention_mask=batch["attention_mask"],
            use_cache=False,
        ).logits
        return summed_losses(logits, batch["labels"])


_LESSONS: dict[str, type[Lessons]] = {
    "sequence": Lessons,
    "continuation": ContinuationLessons,
    "decoder": DecoderLessons,
}
"""By `TransformersVlm.answers_by`."""


def lessons_for(vlm: TransformersVlm) -> Lessons:
    """How this model is taught."""
    return _LESSONS[vlm.answers_by](vlm)


def count_tokens(lessons: Tensors) -> int:
    """Tokens of a lesson or a batch of them that are no padding, question and answer together."""
    asked = int(lessons["attention_mask"].sum())
    return asked + int((lessons["labels"] != IGNORED).sum()) if "decoder_input_ids" in lessons else asked


def summed_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """float32[b]: cross-entropy of logits[b, t, v] against the next of labels[b, t], summed over each row without the
    IGNORED ones.
    """
    wanted = labels[:, 1:]
    losses = functional.cross_entropy(
        logits[:, :-1].transpose(1, 2).float(), wanted, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(1)


def _with_room(prompt: Prompt, tokens: int) -> Prompt:
    return Prompt(prompt.image, prompt.text, prompt.task, tokens)
