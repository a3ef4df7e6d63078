"""Image towers in ONNX Runtime: export, int8, and a session on the CPU."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
import torch

from app.inference.preprocessing import Preprocessing
from app.inference.protocols import Pixels, Vectors
from app.inference.runtimes.notes import describe_processor
from app.inference.runtimes.onnx_bytes import take_bytes

MODEL = "model.onnx"
_EXTERNAL_BYTES = 1_500_000_000
"""A protobuf holds 2 GB at most; beyond this the weights lie beside the graph."""
_WORKSPACE = 64 * 2**20


class OnnxRuntime:
    """See `app.inference.runtimes.tower.ImageRuntime`."""

    def __init__(self, engine: Path, precision: str, threads: int) -> None:
        """Opens `engine/model.onnx`; raises whatever ONNX Runtime raises when it is no model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # idle worker threads must sleep: the cores are shared with image decoding and the database
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(engine / MODEL), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self.label = f"onnxruntime {precision} cpu"
        self.memory_bytes = sum(f.stat().st_size for f in engine.iterdir()) + _WORKSPACE

    def run(self, pixels: Pixels) -> Vectors:
        """[n, 3, h, w] of the graph's type, uint8 where it normalises, to features float32[n, d]."""
        features: Vectors = self._session.run(None, {self._input: pixels})[0]
        return features


def export_float32(
    module: torch.nn.Module, example: Pixels, engine: Path, steps: Preprocessing | None = None
) -> None:
    """Write the module as `engine/model.onnx`, any batch size; `example` is float32[2 or more, 3, h, w].

    With `steps`, the graph takes 8-bit pixels and normalises them.
    """
    with _whole(engine) as folder, _quiet_export():
        program = torch.onnx.export(
            module,
            (torch.from_numpy(example),),
            input_names=["pixels"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program")
        size = sum(p.numel() * p.element_size() for p in module.parameters())
        program.save(folder / MODEL, external_data=size > _EXTERNAL_BYTES)
        if steps is not None:
            model = onnx.load(folder / MODEL, load_external_data=False)
            take_bytes(model, steps)
            onnx.save(model, folder / MODEL)


def write(model: onnx.ModelProto, engine: Path, steps: Preprocessing | None = None) -> None:
    """Keep a graph that was written by hand, which is changed in place where `steps` are given."""
    if steps is not None:
        take_bytes(model, steps)
    with _whole(engine) as folder:
        onnx.save(model, folder / MODEL)


def quantise_int8(float32: Path, engine: Path) -> None:
    """Turn the constant matrices of `float32/model.onnx` into 8-bit integers, one scale a column.

    Activations are quantised as they come, one scale for the whole batch: an image's vector depends a little
    on its neighbours, which the parity gate measures.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _whole(engine) as folder, _quiet_export():
        quantize_dynamic(
            float32 / MODEL,
            folder / MODEL,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QUInt8 if cuts_products_off(describe_processor()) else QuantType.QInt8,
            use_external_data_format=(float32 / MODEL).with_suffix(".onnx.data").exists(),
        )


def cuts_products_off(processor: Sequence[str]) -> bool:
    """Whether ONNX Runtime adds products of uint8 with int8 in 16 bits on this processor, and cuts off what exceeds
    them: x86 without VNNI. Products of uint8 with uint8 are whole there and as fast (docs/encoders.md).

    Both are said in https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
    """
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    return is_x86 and not any("vnni" in line for line in processor)


def load(engine: Path, precision: str, threads: int, make: Callable[[], None]) -> OnnxRuntime:
    """Open an engine, making it first where it is missing and once more where it does not open."""
    if (engine / MODEL).is_file():
        try:
            return OnnxRuntime(engine, precision, threads)
        except Exception:  # damaged on disk; ONNX Runtime has no narrower base class
            shutil.rmtree(engine, ignore_errors=True)
    make()
    return OnnxRuntime(engine, precision, threads)


@contextmanager
def _whole(engine: Path) -> Iterator[Path]:
    """A folder to fill that becomes `engine` in one rename, or not at all; the first of two makers wins."""
    engine.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=engine.parent))
    try:
        yield folder
        try:
            os.rename(folder, engine)
        except OSError:
            if not (engine / MODEL).is_file():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Without the exporters' remarks about things that are not so here (no torchvision, no preprocessing)."""
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    root = logging.getLogger()

    def keep(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(keep)
    try:
        with warnings.catch_warnings():
            # torch.export copies a tree spec through copyreg, which trips torch's own deprecation
            warnings.filterwarnings("ignore", r".*treespec, LeafSpec.*", FutureWarning)
            yield
    finally:
        root.removeFilter(keep)
        exporter.setLevel(level)
