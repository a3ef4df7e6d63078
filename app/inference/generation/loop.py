"""The loop: waiting prompts are read together, and every row under way gets its next token from one forward pass.

Rows leave when they end, and others take their slots between two steps. On a CPU a row's tokens are looked at before
the next step, so that no step is in vain; on a GPU the next step is under way while those of the last arrive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch

from app.inference.generation.captured import CapturedSteps, CudaSteps
from app.inference.generation.choosing import Arrival, choose
from app.inference.generation.decoder import Decoder
from app.inference.generation.rows import Row
from app.inference.generation.slots import Slots
from app.inference.memory import is_out_of_memory
from app.inference.prompts import Answer, Generation

COLUMNS = 128
"""Slots are a multiple of this long, and steps of fixed shapes look at a multiple of it."""

MAX_TURNOVER = 8
"""How often the slots of one batch are filled: prompts that ended are held until all of a batch have."""
REGROW_AFTER = 256
"""Batches after which the number of rows doubles again that was halved when memory ran out."""

Packed = Mapping[str, torch.Tensor]
Collate = Callable[[Sequence[Packed]], Packed]


class Workspace(Protocol):
    """Where the slots are kept between batches: whoever shares a base shares them, since one batch runs at a time."""

    workspace: Slots | None


class Loop:
    """Answers batches with one model."""

    def __init__(
        self, name: str, decoder: Decoder, device: torch.device, *, max_rows: int, cache_bytes: int
    ) -> None:
        """At most `max_rows` rows at once, fewer where their keys and values would take more than `cache_bytes`."""
        self.decoder = decoder
        self.device = device
        self.cache_bytes = cache_bytes
        self.captured = CapturedSteps(name, CudaSteps(device), is_able=device.type == "cuda")
        self.max_rows = self._rows_now = max_rows
        self._good_batches = 0
        self.ahead = 1 if device.type == "cuda" else 0
        """Steps whose tokens may be on their way while the next one is begun."""

    def limit(self, max_rows: int, cache_bytes: int) -> None:
        """Set how many rows run at once and how many bytes their cache takes."""
        self.max_rows = self._rows_now = max_rows
        self.cache_bytes = cache_bytes

    def run(
        self,
        model: Any,
        rows: Sequence[Row],
        *,
        workspace: Workspace,
        collate: Collate,
        fixed_shapes: bool,
        join: Callable[[Callable[[Generation], bool]], Sequence[Row]] | None = None,
    ) -> list[Answer]:
        """The answers of `rows`, and then of those that joined, in order.

        `join` takes more of what waits, up to the first that the test it is given refuses. Where memory runs out, the
        slots are given back, and there are half as many at once from then on.
        """
        everyone = list(rows)
        try:
            with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
                slots = self._slots(model, [row.generation for row in rows], workspace, join is not None)
                batch = _Batch(self, model, slots, collate, fixed_shapes)
                batch.waiting.extend(rows)
                while batch.is_busy:
                    if join is not None and len(everyone) < MAX_TURNOVER * slots.slots:
                        joined = join(batch.room())
                        everyone.extend(joined)
                        batch.waiting.extend(joined)
                    batch.advance(self.ahead)
        except Exception as error:
            if is_out_of_memory(error):
                workspace.workspace = None
                self.captured.forget()
                self._rows_now = max(1, self._rows_now // 2)
                self._good_batches = 0
            raise
        self._regrow()
        return [row.close("cancelled" if row.generation.cancelled() else "length") for row in everyone]

    def _regrow(self) -> None:
        if self._rows_now < self.max_rows:
            self._good_batches += 1
            if self._good_batches >= REGROW_AFTER:
                self._good_batches = 0
                self._rows_now = min(self.max_rows, 2 * self._rows_now)

    def columns(self, generation: Generation) -> int:
        """Columns of keys and values that a prompt and its answer take."""
        return self.decoder.lengths([generation.packed])[0] + generation.max_new_tokens

    def _slots(
        self, model: Any, batch: Sequence[Generation], workspace: Workspace, others_may_join: bool
    ) -> Slots:
        """Those of the last batch where this one fits, else longer ones; none are moved while rows are under way."""
        length = _up(max(map(self.columns, batch)), COLUMNS)
        extra = max(self.decoder.columns_beside(generation.packed) for generation in batch)
        extra = _up(extra, self.decoder.extra_step)
        wanted = self._rows_now if others_may_join else min(len(batch), self._rows_now)
        slots = workspace.workspace
        if slots is not None and slots.length >= length and slots.extra >= extra:
            fitting = self._rows_of(model, slots.length)
            if slots.slots >= min(wanted, fitting):
                return slots
        if slots is not None:
            length, extra = max(length, slots.length), max(extra, slots.extra)
        workspace.workspace = slots = None  # the old ones are gone before the new ones come
        self.captured.forget()
        rows = max(1, min(wanted, self._rows_of(model, length)))
        slots = Slots(self.decoder.layers, rows, length, extra, self.device)
        workspace.workspace = slots
        return slots

    def _rows_of(self, model: Any, length: int) -> int:
        """How many rows of this length the cache may hold."""
        config = self.decoder.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token_bytes = 2 * self.decoder.layers * heads * width * model.dtype.itemsize
        return int(max(1, self.cache_bytes // (token_bytes * length)))


class _Batch:
    """One batch under way; its rows are the first slots, in order."""

    def __init__(
        self,
        loop: Loop,
        model: Any,
        slots: Slots,
        collate: Collate,
        fixed_shapes: bool,
    ) -> None:
        self._loop, self._decoder, self._model = loop, loop.decoder, model
        self._slots, self._collate = slots, collate
        self._fixed = fixed_shapes
        self._captures = fixed_shapes and loop.captured.is_able and not is_trained(model)
        self._rows: list[Row] = []
        self._arriving: deque[tuple[list[Row], Arrival]] = deque()
        self.waiting: deque[Row] = deque()
        loop.captured.over(slots.number)
        slots.positions.zero_()
        slots.tokens.zero_()

    @property
    def is_busy(self) -> bool:
        """Whether any row has not ended."""
        return bool(self.waiting or self._rows or self._arriving)

    def room(self) -> Callable[[Generation], bool]:
        """A test of whether another one has room beside those under way; each that passes takes some."""
        left = self._slots.slots - len(self._rows) - len(self.waiting)

        def fits(generation: Generation) -> bool:
            nonlocal left
            if (
                left <= 0
                or self._loop.columns(generation) > self._slots.length
                or self._decoder.columns_beside(generation.packed) > self._slots.extra
            ):
                return False
            left -= 1
            return True

        return fits

    def advance(self, ahead: int) -> None:
        """Read the prompts for which there are slots, then one token of every row; `ahead` arrivals may be awaited."""
        self._read_prompts()
        if not ahead:
            self._receive(0)
        is_choosing = any(row.is_choosing for row in self._rows)
        if is_choosing:
            self._read_tokens()
        self._receive(ahead if is_choosing else 0)

    def _read_prompts(self) -> None:
        first = len(self._rows)
        entering: list[Row] = []
        while self.waiting and first + len(entering) < self._slots.slots:
            row = self.waiting.popleft()
            if row.generation.cancelled():
                row.close("cancelled")
            else:
                entering.append(row)
        if not entering:
            return
        packed = [row.generation.packed for row in entering]
        lengths = self._decoder.lengths(packed)
        logits = self._decoder.read_prompts(self._model, self._collate(packed), lengths, self._slots, first)
        last = first + len(entering)
        self._slots.positions[first:last] = torch.tensor(lengths).to(self._slots.positions.device)
        for row, length in zip(entering, lengths, strict=True):
            row.position, row.extra = length, self._decoder.columns_beside(row.generation.packed)
        self._rows.extend(entering)
        self._choose(logits, entering, first)

    def _read_tokens(self) -> None:
        rows, slots = self._rows, self._slots
        count, used = len(rows), 1 + max(row.position for row in rows)
        extra = max(row.extra for row in rows)
        if self._fixed:
            count = min(1 << (count - 1).bit_length(), slots.slots)
            used = min(_up(used, COLUMNS), slots.length)
            extra = slots.extra
        shape = (count, used, extra)
        logits = (
            self._loop.captured.run(shape, self._step) if self._captures else self._step(count, used, extra)
        )
        slots.positions[: len(rows)] += 1
        for row in rows:
            row.position += 1
        self._choose(logits[: len(rows)], rows, 0)

    def _step(self, count: int, used: int, extra: int) -> torch.Tensor:
        slots = self._slots
        positions = {row.position for row in self._rows}
        shared = None if self._fixed or len(positions) > 1 else next(iter(positions))
        slots.cache.read_tokens(slots.rows[:count], slots.positions[:count], used, shared)
        return self._decoder.read_tokens(self._model, slots, count, used, extra)

    def _choose(self, logits: torch.Tensor, rows: Sequence[Row], first: int) -> None:
        samplings = [row.generation.sampling for row in rows]
        chosen = choose(logits, samplings, self._decoder.top_k)
        self._slots.tokens[first : first + len(rows)] = chosen
        for row in rows:
            row.chosen += 1
        self._arriving.append((list(rows), Arrival(chosen)))

    def _receive(self, most: int) -> None:
        """Hand out tokens until at most `most` steps are awaited, and free the slots of rows that ended."""
        while len(self._arriving) > most:
            rows, arrival = self._arriving.popleft()
            for row, token in zip(rows, arrival.wait(), strict=True):
                row.push(token)
        for slot in range(len(self._rows) - 1, -1, -1):
            if self._rows[slot].answer is not None:
                self._free(slot)

    def _free(self, slot: int) -> None:
        """The last row moves into the slot of one that ended, so that rows under way stay the first."""
        last = self._rows.pop()
        end = len(self._rows)
        if slot < end:
            self._slots.move(end, slot, last.position)
            self._rows[slot] = last
        self._slots.positions[end] = 0


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def is_trained(model: torch.nn.Module) -> bool:
    """Whether weights may change between two batches, or be cast on the way: nothing is captured of such."""
    return torch.is_autocast_enabled() or any(weight.requires_grad for weight in model.parameters())
