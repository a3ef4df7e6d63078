"""Keys and values of several answers under way, each in a slot of its own, in tensors that stay where they are."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from transformers import Cache

_numbers = itertools.count(1)


class _Layer:
    """Keys and values of one layer, float[slots, heads, length, width]; of no length before the first prompt."""

    is_sliding = False
    is_compileable = False

    def __init__(self, slots: int, length: int) -> None:
        self.keys = self.values = torch.empty(0)
        self._slots, self._length = slots, length

    def make_room(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """For states like these, unless there is.

        Zeros, since what was never written is masked and multiplied by 0, which NaN would survive.
        """
        if not self.keys.numel():
            self.keys, self.values = (
                states.new_zeros((self._slots, states.shape[1], self._length, states.shape[3]))
                for states in (keys, values)
            )


class SlotCache(Cache):
    """What transformers' attention layers write their keys and values to, and read those before from.

    Prompts lie at the front of their slots, padded behind, so that causal attention needs no mask: what stands behind a
    prompt is overwritten token by token, and never looked at before. Each row has a position of its own.
    """

    def __init__(self, layers: int, slots: int, length: int) -> None:
        self._states = [_Layer(slots, length) for _ in range(layers)]
        known: Any = self._states  # transformers asks them nothing but what they have
        super().__init__(layers=known)
        self._first = 0
        self._used = 0
        self._rows: torch.Tensor | None = None
        self._positions: torch.Tensor | None = None
        self._shared_position: int | None = None

    def read_prompts(self, first: int) -> None:
        """The next forward pass reads whole prompts, into the slots from `first` on."""
        self._first, self._positions = first, None

    def read_tokens(
        self, rows: torch.Tensor, positions: torch.Tensor, used: int, shared_position: int | None
    ) -> None:
        """The next forward pass reads one token a row: int64[n] slots and positions, of which `used` columns count.

        `shared_position` is the position where it is the same for all and known here, which makes writing cheap.
        """
        self._rows, self._positions, self._used = rows, positions, used
        self._shared_position = shared_position

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep float[n, heads, tokens, width] and return what these rows may look at."""
        layer = self._states[layer_idx]
        layer.make_room(key_states, value_states)
        count, tokens = key_states.shape[0], key_states.shape[2]
        if self._positions is None:
            window = slice(self._first, self._first + count)
            layer.keys[window, :, :tokens] = key_states
            layer.values[window, :, :tokens] = value_states
            return key_states, value_states
        if self._shared_position is not None:
            column = slice(self._shared_position, self._shared_position + 1)
            layer.keys[:count, :, column] = key_states
            layer.values[:count, :, column] = value_states
        else:
            layer.keys[self._rows, :, self._positions] = key_states[:, :, 0]
            layer.values[self._rows, :, self._positions] = value_states[:, :, 0]
        return layer.keys[:count, :, : self._used], layer.values[:count, :, : self._used]

    def move(self, source: int, target: int, used: int) -> None:
        """Copy the first `used` columns of one slot over another's."""
        for layer in self._states:
            layer.keys[target, :, :used] = layer.keys[source, :, :used]
            layer.values[target, :, :used] = layer.values[source, :, :used]

    @property
    def memory_bytes(self) -> int:
        """Bytes of all keys and values."""
        tensors = [kept for layer in self._states for kept in (layer.keys, layer.values)]
        return sum(kept.numel() * kept.element_size() for kept in tensors)

    # transformers asks these of a cache while it makes a mask; one token a row brings its own mask.

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens before the first of the pass."""
        return 0 if self._positions is None else self._used - 1

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """(columns, offset) of a mask."""
        return (query_length if self._positions is None else self._used), 0


class Slots:
    """All that rows under way have on the device; rows under way are always the first of the slots."""

    def __init__(self, layers: int, slots: int, length: int, extra: int, device: torch.device) -> None:
        """`length` columns of keys and values; `extra` columns of what else a family keeps a row."""
        self.number = next(_numbers)
        """Tells tensors of other addresses apart: what was captured over others is of no use here."""
        self.slots, self.length, self.extra = slots, length, extra
        self.cache = SlotCache(layers, slots, length)
        self.tokens = torch.zeros(slots, dtype=torch.int64, device=device)
        """int64[slots]: what each row reads next."""
        self.positions = torch.zeros(slots, dtype=torch.int64, device=device)
        self.rows = torch.arange(slots, device=device)
        self.columns = torch.arange(max(length, extra), device=device)
        self._kept: dict[str, tuple[torch.Tensor, int]] = {}

    def keep(self, name: str, first: int, value: torch.Tensor, along: int) -> None:
        """Keep [n, ...] for the slots from `first` on; dimension `along` may differ between calls, up to `extra`.

        What lies behind a shorter one is zero.
        """
        if name not in self._kept:
            shape = [self.slots, *value.shape[1:]]
            shape[along] = self.extra
            self._kept[name] = (value.new_zeros(shape), along)
        rows = self._kept[name][0][first : first + value.shape[0]]
        rows.zero_()
        rows.narrow(along, 0, value.shape[along]).copy_(value)

    def read_kept(self, name: str, count: int, columns: int) -> torch.Tensor:
        """The first `columns` of what is kept for the first `count` slots."""
        value, along = self._kept[name]
        return value[:count].narrow(along, 0, columns)

    def mask(self, count: int, used: int, dtype: torch.dtype) -> torch.Tensor:
        """float[count, 1, 1, used], added to attention's scores: 0 up to a row's own position, else the least."""
        seen = self.columns[:used] <= self.positions[:count, None]
        return hide(seen, dtype)[:, None, None]

    def move(self, source: int, target: int, used: int) -> None:
        """Put one row into another's slot."""
        self.cache.move(source, target, used)
        for state in (self.tokens, self.positions, *(value for value, _ in self._kept.values())):
            state[target] = state[source]

    @property
    def memory_bytes(self) -> int:
        """Bytes of all of it that count."""
        kept = sum(value.numel() * value.element_size() for value, _ in self._kept.values())
        return self.cache.memory_bytes + kept


def hide(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where bool `seen` is true, and the least number of `dtype` elsewhere."""
    return torch.where(
        seen,
        torch.zeros((), dtype=dtype, device=seen.device),
        torch.full((), torch.finfo(dtype).min, dtype=dtype, device=seen.device),
    )
