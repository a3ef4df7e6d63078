"""Base models that several models of this process share: one copy of the weights under any number of adapters."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from app.inference.adapters import Overlay


class BaseKey(NamedTuple):
    """What makes two loaded bases the same."""

    fingerprint: str
    """Of the files (`app.families.files.fingerprint`)."""
    device: str
    dtype: str
    """Number format in memory, such as `float32` or `nf4`."""
    part: str = ""
    """Which module of these files, where a checkpoint holds several (an encoder's two towers)."""


class SharedBase:
    """A base module, one lock, and the adapters that lie over it.

    The module is changed in place by its first adapter and restored when the last one goes. Whoever holds this
    object keeps the weights; nothing else does. All methods may be called from any thread.
    """

    def __init__(self, key: BaseKey, module: torch.nn.Module) -> None:
        self.key = key
        self.module = module.eval().requires_grad_(False)
        self._weights_bytes = tensor_bytes(module)
        self.workspace: Any = None
        """What all who generate with these weights use in turn; counts its own `memory_bytes`."""
        self._turns = _Turns()
        self._overlay: Overlay | None = None
        self._numbers = itertools.count(1)
        self._sizes: dict[str, int] = {}
        self._selected: str | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes of the base and of the workspace, however many adapters are loaded."""
        workspace = self.workspace
        return self._weights_bytes + (0 if workspace is None else int(workspace.memory_bytes))

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for whoever uses it now."""
        return self._turns.are_wanted

    @property
    def adapters(self) -> list[str]:
        """Names of the loaded adapters."""
        return list(self._sizes)

    def adapter_bytes(self, name: str) -> int:
        """Bytes that this adapter takes beside the base; raises KeyError."""
        return self._sizes[name]

    def load(self, folder: Path) -> str:
        """Load the adapter in `folder` (`adapter_config.json`, `adapter_model.safetensors`); its name here.

        Each call loads another copy, under a name of its own. Raises ModelUnavailableError when the files are
        damaged, fit another base, or ask for what would change the base itself; the base is then as before.
        """
        from app.inference.adapters import Overlay  # brings peft along, which most services never need

        with self._turns:
            if self._overlay is None:
                self._overlay = Overlay(self.module)
            name = f"adapter-{next(self._numbers)}"
            before = tensor_bytes(self.module)
            self._selected = None
            self._overlay.add(name, folder)
            self._sizes[name] = tensor_bytes(self.module) - before
        return name

    def remove(self, name: str) -> None:
        """Free an adapter's memory, after whatever runs now; one that is not there is no error."""
        with self._turns:
            if self._sizes.pop(name, None) is not None and self._overlay is not None:
                self._selected = None
                self._overlay.remove(name)

    @contextmanager
    def using(self, name: str | None) -> Iterator[torch.nn.Module]:
        """The module with that adapter at work (None: the bare base), for as long as the block lasts.

        Only one block runs at a time; those who wait go in the order in which they came. Not reentrant.
        Raises KeyError when there is no such adapter.
        """
        with self._turns:
            if name is not None and name not in self._sizes:
                raise KeyError(name)
            if self._overlay is not None and name != self._selected:
                self._overlay.select(name)
                self._selected = name
            yield self.module


_bases: weakref.WeakValueDictionary[BaseKey, SharedBase] = weakref.WeakValueDictionary()
_building = threading.Lock()


def share_base(key: BaseKey, build: Callable[[], torch.nn.Module]) -> SharedBase:
    """The base of that key, built by `build` unless somebody holds it already.

    One base is built at a time, since two at once would need the memory of both before either is counted.
    Raises what `build` raises; the next caller tries again.
    """
    with _building:
        base = _bases.get(key)
        if base is None:
            base = _bases[key] = SharedBase(key, build())
        return base


def tensor_bytes(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers, each counted once."""
    tensors = {id(tensor): tensor for tensor in itertools.chain(module.parameters(), module.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


class _Turns:
    """A lock that is passed on in the order of arrival: two busy models each get every other turn.

    A plain lock goes back to the thread that has just released it, and the other would wait for a lull.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def are_wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def __exit__(self, *exc: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
