"""What a frozen image tower makes of images that are shown unchanged, computed once and kept within bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from app.families.transformers_vlm import TransformersVlm
from workers.methods.common.vlm.lessons import Tensors
from workers.shared.examples import Item

_PIXELS = "pixel_values"


class KeptImages:
    """Stands before a model's image tower: images that it knows by name are not computed again.

    What does not fit into `room_bytes` any more is computed each time: examples come round in passes, of which a store
    that forgets the oldest would keep none.
    """

    def __init__(self, vlm: TransformersVlm, room_bytes: int) -> None:
        """Takes the tower's forward over until `close`; nothing is kept where the family says of no tower."""
        self._room = room_bytes if vlm.tower else 0
        self._stands = bool(self._room)
        self._kept: dict[str, dict[int, torch.Tensor]] = {}
        self._lessons: dict[Item, Tensors] = {}
        self._names: Sequence[str] | None = None
        if self._stands:
            self._tower = vlm.model.get_submodule(vlm.tower)
            self._layers = _layers_of(vlm.model.config)
            self._forward = self._tower.forward
            self._tower.forward = self._look_up

    def close(self) -> None:
        """Give the tower its forward back, and forget everything."""
        if self._stands:
            del self._tower.forward
            self._stands, self._room = False, 0
            self._kept, self._lessons = {}, {}

    @contextmanager
    def showing(self, names: Sequence[str] | None) -> Iterator[None]:
        """While it lasts, the rows of a batch's pixels are the unchanged images of these names; None: are changed."""
        self._names, before = names, self._names
        try:
            yield
        finally:
            self._names = before

    def lesson(self, item: Item, make: Callable[[], Tensors]) -> Tensors:
        """What `make` gives for the item with its image unchanged; without its pixels where they are not looked at."""
        if item.sha256 not in self._kept:
            return make()
        if (known := self._lessons.get(item)) is not None:
            return known
        made = make()
        bare = {**made, _PIXELS: made[_PIXELS].new_zeros([1] * made[_PIXELS].ndim)}
        if self._take(bare.values()):
            self._lessons[item] = bare
        return made

    def _look_up(self, pixel_values: torch.Tensor, *args: Any, **options: Any) -> Any:
        names = self._names
        if names is None or len(names) != len(pixel_values):
            return self._forward(pixel_values, *args, **options)
        missing = [row for row, name in enumerate(names) if name not in self._kept]
        found = [self._kept.get(name, {}) for name in names]
        if missing:
            self._tower.eval()
            with torch.no_grad():
                made = self._forward(pixel_values[missing], *args, **options)
            for place, row in enumerate(missing):
                found[row] = {layer: _layer(made, layer)[place] for layer in self._layers}
                copies = {layer: tensor.detach().clone().cpu() for layer, tensor in found[row].items()}
                if self._take(copies.values()):
                    self._kept[names[row]] = copies
        layers = {
            layer: torch.stack([features[layer].to(pixel_values.device) for features in found])
            for layer in self._layers
        }
        last = layers.get(_LAST)
        return BaseModelOutputWithPooling(
            last_hidden_state=last,
            hidden_states=_Layers(layers) if last is None else None,  # type: ignore[arg-type]
        )

    def _take(self, tensors: Any) -> bool:
        """Whether there is room for these, which is taken then."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if size > self._room:
            return False
        self._room -= size
        return True


_LAST = 1 << 30
"""Stands for the tower's last hidden state among its layers."""


class _Layers:
    """A tower's hidden states by their number, as a model asks for them."""

    def __init__(self, layers: dict[int, torch.Tensor]) -> None:
        self._layers = layers

    def __getitem__(self, layer: int) -> torch.Tensor:
        return self._layers[layer]


def _layers_of(config: Any) -> tuple[int, ...]:
    """Which hidden states a model takes from its tower: those that its configuration names, else the last."""
    named = getattr(config, "vision_feature_layer", None)
    if named is None:
        return (_LAST,)
    return (named,) if isinstance(named, int) else tuple(named)


def _layer(output: Any, layer: int) -> torch.Tensor:
    found: torch.Tensor = output.last_hidden_state if layer == _LAST else output.hidden_states[layer]
    return found
