"""An image tower on a GPU that is kept busy: pixels cross while others are computed, and graphs queue whole batches.

What happens to a batch, none of it waited for before `Pending.result`:

    shared memory -> pinned buffer -> device       `staging`, the next chunk being packed while this one crosses
    JPEG files -> device                           `jpegs`, where a library for it is installed
    resize, crop                                   `resizing`, the images of one size together
    normalise, forward                             `buckets`, as a graph once one is recorded (`warming`)
    features -> pinned buffer -> numpy             `Pending`
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.inference.device import Device
from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Vectors
from app.inference.runtimes.gpu.buckets import BucketedForward, CudaRecorder, Forward, Recorder, Repeater
from app.inference.runtimes.gpu.jpegs import BatchJpegDecoder, decode_each, upright
from app.inference.runtimes.gpu.resizing import Resizer
from app.inference.runtimes.gpu.staging import Chunk, Image, Staging
from app.inference.runtimes.gpu.streams import Mark, Streams, streams_of
from app.media.encoded import EncodedJpeg, decode_encoded

_WORKSPACE = 256 * 2**20
"""Bytes on the device for what a batch computes in between and what graphs keep; estimated."""
_DECODED_BYTES = 512 << 20
"""Pixels that JPEGs of one call may unfold to on the device."""


@dataclass(frozen=True)
class GpuOptions:
    """How towers run on a GPU."""

    max_batch: int
    """Rows of the fixed input: no batch is larger."""
    staging_bytes: int = 64 << 20
    graphs: bool = True
    compile_backend: str | None = None
    """Compile the model for each bucket by torch.compile with this backend."""
    decoder: BatchJpegDecoder | None = None
    """For JPEG files; what it refuses is decoded on the CPU."""


class Pending:
    """Features of one batch that the device still computes."""

    def __init__(
        self, parts: list[_Part], give_back: Callable[[torch.Tensor], None], kept: list[torch.Tensor]
    ) -> None:
        self._parts = parts
        self._give_back = give_back
        self._kept = kept
        """Memory that queued work still reads."""

    def result(self) -> Vectors:
        """float32[n, d], in the order of the images. Blocks; called once, from any thread."""
        found = []
        for part in self._parts:
            part.done.wait()
            features = np.empty((len(part.order), part.host.shape[1]), np.float32)
            features[part.order] = part.host[: len(part.order)].numpy()
            self._give_back(part.host)
            found.append(features)
        self._kept.clear()
        return found[0] if len(found) == 1 else np.concatenate(found)


@dataclass(frozen=True)
class _Part:
    """One forward pass: its features, and which image each row is."""

    host: torch.Tensor
    done: Mark
    order: list[int]


class GpuRuntime:
    """See `app.inference.runtimes.tower.ImageRuntime`; `launch` is what a batcher with a pipeline calls."""

    def __init__(
        self,
        module: torch.nn.Module,
        device: Device,
        dtype: torch.dtype,
        preprocessing: Preprocessing,
        options: GpuOptions,
        *,
        channels_last: bool = False,
        streams: Streams | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Takes the module over (float[n, 3, h, w], normalised, to float[n, d]): moves and converts it in place.

        `streams` and `recorder` are the device's own unless given.
        """
        self.device, self.options = device, options
        self.streams = streams or streams_of(device.torch_name)
        self._torch_device = torch.device(device.torch_name)
        self._dtype = dtype
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._module = module.to(self._torch_device, dtype, memory_format=self._layout)  # type: ignore[call-overload]
        self._multiplier, self._offset = (
            torch.tensor(values, dtype=torch.float32, device=self._torch_device).view(1, 3, 1, 1)
            for values in (preprocessing.multiplier, preprocessing.offset)
        )
        self._staging = Staging(self.streams, options.staging_bytes)
        self._resizer = Resizer(preprocessing, self._torch_device)
        self._results: deque[torch.Tensor] = deque()
        with self.streams.lock:
            self.streams.settle()
            rows = (options.max_batch, 3, *preprocessing.output)
            self._inputs = self.streams.device_buffer(rows, torch.uint8)
        if recorder is None and options.graphs and device.kind == "cuda":
            recorder = CudaRecorder(device.index)
        self._compiled: Forward | None = None
        if options.compile_backend is not None:
            compiled = torch.compile(self._module, backend=options.compile_backend, dynamic=False)
            self._compiled = self._normalising(compiled)
            recorder = recorder or Repeater()
        self.forward = BucketedForward(
            self._normalising(self._module), self._inputs, recorder, recorded=self._compiled
        )
        self.remark = ""
        """What there is to know of how it runs, such as that no graph could be recorded."""
        weights = sum(p.numel() * p.element_size() for p in self._module.parameters())
        self.memory_bytes = (
            weights + self._inputs.numel() + 2 * options.staging_bytes + (_WORKSPACE if recorder else 0)
        )
        self.label = self._describe()
        """For people; grows as graphs are recorded."""

    @property
    def name(self) -> str:
        """What runs, as notes about it are kept."""
        name = f"torch {str(self._dtype).removeprefix('torch.')} {self.device.torch_name}"
        compiler = self.options.compile_backend
        return name if compiler is None else f"{name}, compiled by {compiler}"

    def _describe(self) -> str:
        name = self.name
        if self.forward.recorded and self.options.graphs and self.device.kind == "cuda":
            name += f", graphs up to {self.forward.recorded[-1]}"
        if self.options.decoder is not None:
            name += f", JPEG by {self.options.decoder.name}"
        return f"{name}, {self.remark}" if self.remark else name

    @property
    def reads_jpeg(self) -> bool:
        """Whether `launch` decodes `EncodedJpeg` on the device."""
        return self.options.decoder is not None

    def run(self, pixels: NDArray[Any]) -> Vectors:
        """[n, 3, h, w], resized already, to features float32[n, d]; a full GPU raises `torch.OutOfMemoryError`.

        uint8, or float32 as the checkpoint's own processor normalises it, which is compared with and never served.
        """
        limit = self.options.max_batch
        run = self._run if pixels.dtype == np.uint8 else self._run_normalised
        parts = [run(pixels[start : start + limit]) for start in range(0, len(pixels), limit)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def launch(self, images: Sequence[Image | EncodedJpeg]) -> Pending:
        """Queue a batch; the images have been read when this returns, and their memory may change.

        Raises ValueError for an array that is no uint8[h, w, 3], `torch.OutOfMemoryError`, and
        InvalidImageError for a file that the CPU refuses, too. Then nothing is pending.
        """
        parts: list[_Part] = []
        kept: list[torch.Tensor] = []
        with self.streams.lock, torch.inference_mode():
            try:
                for start in range(0, len(images), self.options.max_batch):
                    parts.append(self._launch(images[start : start + self.options.max_batch], kept))
            except BaseException:
                self.streams.mark().wait()  # before the memory goes that queued work still reads
                raise
        return Pending(parts, self._take_back, kept)

    def record(self, size: int) -> None:
        """Record the forward pass of that many images; raises what the device raises."""
        if self._compiled is not None:  # which takes long: requests go on meanwhile
            with torch.inference_mode():
                self._compiled(torch.zeros_like(self._inputs[:size]))
                self.streams.settle()
        with self.streams.lock, torch.inference_mode(), self.streams.computing():
            self.forward.record(size)
        self.label = self._describe()

    def forget(self, sizes: Sequence[int]) -> None:
        """Give the graphs of these sizes up."""
        with self.streams.lock:
            self.streams.mark().wait()
            for size in sizes:
                self.forward.forget(size)
        self.label = self._describe()

    def give_up_graphs(self, remark: str) -> None:
        """Run every batch eagerly from now on; `remark` says why where the model is described."""
        with self.streams.lock:
            self.streams.mark().wait()
            self.forward.give_up()
            self.remark = remark
        self.label = self._describe()

    def give_up_decoding(self) -> None:
        """Take no more JPEG files."""
        self.options = replace(self.options, decoder=None)
        self.label = self._describe()

    def close(self) -> None:
        """Give the device's memory back."""
        with self.streams.lock:
            self.streams.mark().wait()
            self.forward.close()
            self._results.clear()
            del self._module, self._inputs, self._compiled, self._staging
            self.device.release_cache()

    def _run(self, pixels: NDArray[np.uint8]) -> Vectors:
        with self.streams.lock, torch.inference_mode():
            host = self.streams.host_buffer(pixels.shape, torch.uint8)
            np.copyto(host.numpy(), pixels)
            uploaded = self.streams.upload(self._inputs[: len(pixels)], host, self.streams.mark())
            part = self._forward(list(range(len(pixels))), uploaded)
            return Pending([part], self._take_back, [host]).result()

    def _run_normalised(self, pixels: NDArray[np.float32]) -> Vectors:
        with self.streams.lock, torch.inference_mode(), self.streams.computing():
            batch = torch.from_numpy(pixels).to(self._torch_device, self._dtype)
            features: Vectors = self._module(batch).float().cpu().numpy()
        return features

    def _launch(self, images: Sequence[Image | EncodedJpeg], kept: list[torch.Tensor]) -> _Part:
        order: list[int] = []
        arrays: dict[int, Image] = {}
        files: dict[int, EncodedJpeg] = {}
        for row, image in enumerate(images):
            if isinstance(image, EncodedJpeg):
                files[row] = image
            elif image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
                arrays[row] = image
            else:
                raise ValueError(f"an image must be uint8[h, w, 3], not {image.dtype}{list(image.shape)}")
        if files:
            self._decode(files, arrays, order, kept)
        rows = list(arrays)

        def resize(chunk: Chunk) -> None:
            with self.streams.computing(chunk.uploaded):
                for group in chunk.groups:
                    self._resizer.resize(group.pixels, self._rows(order, len(group.rows)))
                    order.extend(rows[place] for place in group.rows)

        self._staging.feed(list(arrays.values()), resize)
        return self._forward(order, None)

    def _decode(
        self,
        files: dict[int, EncodedJpeg],
        arrays: dict[int, Image],
        order: list[int],
        kept: list[torch.Tensor],
    ) -> None:
        """Decode on the device and resize; what it refuses is decoded here and joins `arrays`."""
        for part in _parts_of(files):
            if kept:  # their memory is needed again
                self.streams.mark().wait()
                kept.clear()
            self._decode_part({row: files[row] for row in part}, arrays, order, kept)

    def _decode_part(
        self,
        files: dict[int, EncodedJpeg],
        arrays: dict[int, Image],
        order: list[int],
        kept: list[torch.Tensor],
    ) -> None:
        decoder = self.options.decoder
        if decoder is None:
            arrays |= {row: decode_encoded(file) for row, file in files.items()}
            return
        with self.streams.decoding():
            decoded = decode_each(decoder, [file.data for file in files.values()])
        kept += [planes for planes in decoded if planes is not None]
        sizes: dict[tuple[int, ...], dict[int, torch.Tensor]] = {}
        with self.streams.computing():
            for (row, file), planes in zip(files.items(), decoded, strict=True):
                if planes is None:
                    arrays[row] = decode_encoded(file)
                    continue
                turned = planes if decoder.turns_upright else upright(planes, file.turn)
                sizes.setdefault(tuple(turned.shape), {})[row] = turned
            for group in sizes.values():
                stack = torch.stack(list(group.values()))
                self._resizer.resize_planes(stack, self._rows(order, len(group)))
                order.extend(group)

    def _rows(self, order: list[int], count: int) -> torch.Tensor:
        """The next free rows of the input."""
        return self._inputs[len(order) : len(order) + count]

    def _forward(self, order: list[int], after: Mark | None) -> _Part:
        """Queue the forward pass over the first rows of the input, and the way back of its features."""
        with self.streams.computing(after):
            features = self.forward.run(len(order))
            host = self._host_for(features)
            return _Part(host, self.streams.download(host[: len(order)], features), order)

    def _host_for(self, features: torch.Tensor) -> torch.Tensor:
        if self._results:
            return self._results.pop()
        return self.streams.host_buffer((self.options.max_batch, features.shape[1]), torch.float32)

    def _take_back(self, host: torch.Tensor) -> None:
        """Keep it: freed while a graph is recorded, it would have torch mark the stream that is recorded."""
        self._results.append(host)

    def _normalising(self, module: Callable[[torch.Tensor], torch.Tensor]) -> Forward:
        # without `self`, which would hold itself: the device's memory would wait for a search for garbage
        multiplier, offset, dtype, layout = self._multiplier, self._offset, self._dtype, self._layout

        def forward(rows: torch.Tensor) -> torch.Tensor:
            pixels = rows.float().mul_(multiplier).add_(offset)
            return module(pixels.to(dtype).contiguous(memory_format=layout)).float()

        return forward


def _parts_of(files: dict[int, EncodedJpeg]) -> list[list[int]]:
    """The rows of the files in parts that unfold to a bounded number of bytes each."""
    parts: list[list[int]] = []
    filled = _DECODED_BYTES + 1
    for row, file in files.items():
        size = 3 * file.width * file.height
        if filled + size > _DECODED_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(row)
        filled += size
    return parts
