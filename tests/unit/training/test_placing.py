"""Which queue a training goes to: by the size of its base's files and the GPUs that the machine says it has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.inference import device
from app.inference.sources import CHECKPOINTS
from app.jobs.spec import JobSpec, Queue, ResolvedJob
from app.runtime.job_processes import _queues
from app.runtime.plan import plan_here
from app.settings import Settings
from app.training.base_size import count_parameters
from app.training.placing import Placement


class Listening:
    """Redis as far as presence asks it: which queues a worker listens to."""

    def __init__(self, *queues: str) -> None:
        self._keys = queues

    async def exists(self, key: str) -> int:
        return int(key.endswith(tuple(f":{queue}" for queue in self._keys)))


NewPlacement = Callable[..., Placement]


@pytest.fixture
def new_placement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewPlacement:
    """`new_placement(gpus, listening, worker=False)`: that of a service on a machine with so many GPUs, beside workers
    that listen to those queues.
    """

    def make(gpus: int, listening: tuple[str, ...], **settings: bool) -> Placement:
        monkeypatch.setattr(device, "count_gpus", lambda name: gpus)
        return Placement(Settings(data_dir=tmp_path / "data", **settings), Listening(*listening))  # type: ignore[arg-type]

    return make


def checkpoint(folder: Path, millions: int) -> str:
    """`llava-shapes` with weights whose headers speak of so many numbers; their bytes are a hole in the file."""
    shutil.copytree(CHECKPOINTS / "llava-shapes", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    names: dict[str, str] = {}
    for part in range(2):
        shape = [millions * 1000, 500]
        size = 2 * shape[0] * shape[1]
        head: dict[str, Any] = {
            "__metadata__": {"format": "pt"},
            "weight": {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]},
        }
        header = json.dumps(head).encode()
        name = f"model-0000{part + 1}-of-00002.safetensors"
        names[f"weight.{part}"] = name
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + size)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return str(folder)


class Driver:
    """CUDA's driver library on a machine with so many GPUs."""

    def __init__(self, gpus: int, refuses: bool) -> None:
        self._gpus, self._refuses = gpus, refuses

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 100 if self._refuses else 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self._gpus
        return 0


@pytest.mark.parametrize(
    ("gpus", "setting", "built", "refuses", "count"),
    [
        (None, "auto", True, False, 0),
        (1, "auto", True, False, 1),
        (1, "cpu", True, False, 0),
        (3, "cuda", True, False, 3),
        (3, " CUDA:2 ", True, False, 1),
        (0, "cuda:2", True, False, 0),
        (2, "auto", True, True, 0),  # such as a driver that is older than the kernel's module
        (2, "auto", False, False, 0),  # torch could not use them
    ],
)
def test_gpus_are_counted_by_the_driver_for_engines_and_jobs_alike(
    gpus: int | None,
    setting: str,
    built: bool,
    refuses: bool,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "nvidiactl"
    if gpus is not None:
        file.touch()
    monkeypatch.setattr(device, "_DRIVER_FILES", (str(file),))
    monkeypatch.setattr(device, "torch_has_cuda", lambda: built)
    monkeypatch.setattr("app.inference.device.ctypes.CDLL", lambda name: Driver(gpus or 0, refuses))
    assert device.count_gpus(setting) == count
    if setting == "auto":
        front_ends = plan_here(Settings(device=setting)).front_ends
        assert bool(front_ends) == bool(count)


def test_a_mac_has_one_gpu_and_another_machine_none_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, count in (("Darwin", 1), ("Linux", 0)):
        monkeypatch.setattr("app.inference.device.platform.system", lambda system=system: system)
        assert device.count_gpus("mps") == count


def test_sizes_are_read_from_headers_alone(tmp_path: Path) -> None:
    assert count_parameters(Path(checkpoint(tmp_path / "large", 7000))) == 7_000_000_000
    assert 1e5 < (count_parameters(CHECKPOINTS / "llava-shapes") or 0) < 1e8
    assert count_parameters(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 16)
    assert count_parameters(tmp_path) is None


@pytest.mark.parametrize(
    ("gpus", "millions", "listening", "queue"),
    [
        (0, 7000, (), "cpu"),  # a machine without a GPU trains it, slowly
        (0, 7000, ("gpu",), "gpu"),  # another machine's worker has one
        (1, 7000, (), "gpu"),
        (4, 7000, (), "gpu"),
        (1, 999, (), "cpu"),
        (1, 1, (), "cpu"),
    ],
)
async def test_a_large_base_goes_where_a_gpu_is(
    gpus: int,
    millions: int,
    listening: tuple[str, ...],
    queue: Queue,
    tmp_path: Path,
    new_placement: NewPlacement,
) -> None:
    placement = new_placement(gpus, listening)
    base = checkpoint(tmp_path / "base", millions)
    spec = JobSpec(kind="train", method="lora", base_model=base, base_kind="vlm")
    assert (await placement.place(ResolvedJob(spec, "cpu"))).queue == queue
    # what a strategy says of a GPU is not doubted
    assert (await placement.place(ResolvedJob(spec, "gpu"))).queue == "gpu"
    # of a trained model the base is named beside the job
    judged = JobSpec(kind="evaluate", model="mine", base_kind="vlm")
    assert (await placement.place(ResolvedJob(judged, "cpu"), base)).queue == queue


@pytest.mark.parametrize(
    ("gpus", "nodes", "works", "listening", "queue"),
    [
        (0, 1, True, (), "cpu"),  # or it would wait for ever
        (0, 1, True, ("multi-gpu",), "multi-gpu"),
        (0, 2, True, (), "multi-gpu"),
        (0, 1, False, (), "multi-gpu"),  # workers of other machines may be on their way
        (4, 1, True, (), "multi-gpu"),
    ],
)
async def test_several_processes_share_the_cores_of_a_machine_without_gpus(
    gpus: int, nodes: int, works: bool, listening: tuple[str, ...], queue: Queue, new_placement: NewPlacement
) -> None:
    placement = new_placement(gpus, listening, worker=works)
    spec = JobSpec(kind="train", method="finetune", params={"processes": 2, "nodes": nodes})
    placed = await placement.place(ResolvedJob(spec, "multi-gpu", warnings=("a first one",)))
    assert placed.queue == queue
    assert placed.warnings == (
        "a first one",
        *(["There is no GPU here: 2 processes share this machine's cores."] if queue == "cpu" else []),
    )


async def test_more_processes_than_cores_do_not_start_on_a_machine_without_gpus(
    new_placement: NewPlacement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "threads", lambda: 4)
    placement = new_placement(0, ())
    for processes, queue in ((4, "cpu"), (1024, "multi-gpu")):
        spec = JobSpec(kind="train", method="finetune", params={"processes": processes})
        placed = await placement.place(ResolvedJob(spec, "multi-gpu"))
        assert placed.queue == queue
        assert f"{processes} processes" in placed.warnings[0]
        assert ("too many" in placed.warnings[0]) == (queue == "multi-gpu")


@pytest.mark.parametrize(("gpus", "queues"), [(0, "cpu"), (1, "cpu,gpu"), (4, "cpu,gpu,multi-gpu")])
def test_a_services_worker_listens_where_its_gpus_can_work(
    gpus: int, queues: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.runtime.job_processes.count_gpus", lambda name: gpus)
    assert _queues(Settings(data_dir=tmp_path)) == queues
