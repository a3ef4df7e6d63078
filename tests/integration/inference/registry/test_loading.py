"""The registry: shared loads, failures, eviction, what it lists and tells, and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import OverloadedError
from app.inference import registry as registry_module
from app.inference.engine.interface import Engine
from app.inference.errors import (
    ModelNotFoundError,
    ModelUnavailableError,
    OutOfMemoryError,
)
from app.inference.registry import ModelRegistry
from app.settings import Settings
from tests.engines import until
from tests.integration.inference.registry.mean_colour import MIB, Loader, Loading, shows, solid


async def test_concurrent_first_callers_share_one_load(engine: Engine, loader: Loader) -> None:
    async def use() -> str:
        async with engine.encoder() as live:
            return live.key

    assert len(set(await asyncio.gather(*(use() for _ in range(20))))) == 1
    assert loader.loads == ["lite"]
    await shows(engine, ["lite"])


async def test_a_failed_load_is_everyones_error_and_the_next_try_loads(
    engine: Engine, loader: Loader
) -> None:
    loader.failures = [OSError("disk on fire")]

    async def use() -> str:
        async with engine.encoder("lite") as live:
            return live.key

    settled = await asyncio.gather(*(use() for _ in range(3)), return_exceptions=True)
    assert [type(s) for s in settled] == [ModelUnavailableError] * 3
    assert "fire" not in str(settled[0])
    assert (await use()).startswith("lite@")
    assert loader.loads == ["lite", "lite"]


async def test_a_load_that_runs_out_of_memory_says_so(engine: Engine, loader: Loader) -> None:
    loader.failures = [RuntimeError("CUDA out of memory")]
    with pytest.raises(OutOfMemoryError):
        async with engine.encoder("lite"):
            pass


async def test_a_caller_that_leaves_does_not_stop_the_load(engine: Engine, loader: Loader) -> None:
    loader.seconds = 0.2

    async def use() -> None:
        async with engine.encoder("lite"):
            pass

    first, second = asyncio.create_task(use()), asyncio.create_task(use())
    await until(lambda: loader.loads == ["lite"])
    first.cancel()
    await second
    assert loader.loads == ["lite"]


async def test_a_model_that_is_removed_while_it_loads_does_not_stay(
    engine: Engine, registry: ModelRegistry, loader: Loader, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')

    async def use() -> None:
        async with engine.encoder(str(folder)):
            pass

    for caller_stays in (True, False):
        loader.gate.clear()
        using = asyncio.create_task(use())
        await until(lambda: "gone" in loader.loads)
        if not caller_stays:
            using.cancel()
            await asyncio.wait([using])
        await engine.forget(str(folder))
        loader.gate.set()
        await asyncio.wait([using])
        await until(lambda: not registry._loads and not registry._trims)
        await shows(engine, [])
        loader.loads.clear()


async def test_an_unknown_name_is_not_found(engine: Engine) -> None:
    with pytest.raises(ModelNotFoundError):
        async with engine.encoder("no such encoder"):
            pass


async def test_the_least_recently_used_idle_model_makes_room(engine: Engine, loader: Loader) -> None:
    for name in ("org/one", "org/two", "org/one", "org/three"):
        async with engine.encoder(name):
            pass
    await shows(engine, ["three", "one"])
    await until(lambda: "batcher-two" not in {thread.name for thread in threading.enumerate()})
    async with engine.encoder("org/two"):
        pass
    assert loader.loads == ["one", "two", "three", "two"]


async def test_a_model_in_use_is_never_evicted_and_the_surplus_goes_later(
    engine: Engine, loader: Loader
) -> None:
    async with engine.encoder("org/one") as one, engine.encoder("org/two") as two:
        async with engine.encoder("org/three") as three:
            assert {info.name for info in engine.live()} == {"one", "two", "three"}
            for live in (one, two, three):
                vectors = await live.embed_images([solid("red")], deadline_s=10)
                assert vectors.shape == (1, 8)
        await until(lambda: len(engine.live()) == 3)
    await until(lambda: len(engine.live()) == 2)
    assert loader.loads == ["one", "two", "three"]


async def test_a_model_larger_than_the_budget_is_served_alone(engine: Engine, loader: Loader) -> None:
    loader.memory["huge"] = 100 * MIB
    async with engine.encoder("lite"):
        pass
    async with engine.encoder("org/huge") as live:
        assert (await live.embed_texts(["a"], deadline_s=10)).shape == (1, 8)
    await shows(engine, ["huge"])
    async with engine.encoder("lite"):
        pass
    await shows(engine, ["lite"])


async def test_models_that_evict_each_other_still_serve_everyone(engine: Engine, loader: Loader) -> None:
    loader.memory = dict.fromkeys(("one", "two", "three"), 20 * MIB)

    async def use(name: str) -> None:
        for _ in range(3):
            async with engine.encoder(f"org/{name}") as live:
                await live.embed_images([solid("blue")], deadline_s=10)

    async with asyncio.timeout(120):
        await asyncio.gather(*(use(name) for name in ("one", "two", "three") for _ in range(2)))
    await until(lambda: len(engine.live()) == 1)


async def test_known_lists_the_default_and_aliases(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", encoder="openai/clip-vit-base-patch32")
    registry = ModelRegistry(settings, Loading(Loader()), pool=pool)
    known = {info.name: info for info in registry.list_models()}
    assert known["clip-vit-base-patch32"].aliases == ("openai/clip-vit-base-patch32",)
    assert known["clip-vit-base-patch32"].default
    assert not known["lite"].default
    assert not any(info.live for info in known.values())
    async with registry.encoder() as live:
        assert live.name == "clip-vit-base-patch32"
        info = next(info for info in registry.list_models() if info.live)
        assert (info.dim, info.memory_bytes, info.runtime, info.users) == (
            8,
            10 * MIB,
            "numpy float32 cpu",
            1,
        )
    await registry.close()


async def test_a_closed_registry_refuses(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    registry = ModelRegistry(Settings(data_dir=tmp_path, device="cpu"), Loading(Loader()), pool=pool)
    async with registry.encoder("lite") as live:
        pass
    await registry.close()
    with pytest.raises(OverloadedError):
        await live.embed_images([solid("red")], deadline_s=5)
    with pytest.raises(OverloadedError):
        async with registry.encoder("lite"):
            pass


async def test_closing_waits_only_so_long_for_a_load_that_cannot_be_stopped(
    tmp_path: Path, pool: ThreadPoolExecutor, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "CLOSE_SECONDS", 0.1)
    loader.gate.clear()  # as a download that goes on
    registry = ModelRegistry(Settings(data_dir=tmp_path, device="cpu"), Loading(loader), pool=pool)

    async def use() -> None:
        async with registry.encoder("lite"):
            pass

    loading = asyncio.create_task(use())
    await until(lambda: loader.loads == ["lite"])
    await registry.close()
    assert not loading.done()
    loader.gate.set()
    with pytest.raises(OverloadedError):
        await loading
    assert registry.live() == [], "it is given back"


async def test_observers_hear_of_loads_and_unloads(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    class Observer:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def model_loaded(self, model: str, load_s: float, memory_bytes: int) -> None:
            self.heard.append(f"loaded {model} {memory_bytes // MIB}")

        def model_load_failed(self, model: str, reason: str) -> None:
            self.heard.append(f"failed {model} {reason}")

        def model_unloaded(self, model: str) -> None:
            self.heard.append(f"unloaded {model}")

        def batch_ran(
            self, model: str, group: str, waits_s: Sequence[float], run_s: float, queue_depth: int
        ) -> None:
            self.heard.append(f"{group} {len(waits_s)}")

        def items_dropped(self, model: str, reason: str, count: int) -> None:
            self.heard.append(reason)

    observer, loader = Observer(), Loader()
    loader.failures = [ValueError()]
    settings = Settings(data_dir=tmp_path, device="cpu")
    registry = ModelRegistry(settings, Loading(loader), pool=pool, observer=observer)
    with pytest.raises(ModelUnavailableError):
        async with registry.encoder("lite"):
            pass
    async with registry.encoder("lite") as live:
        await live.embed_texts(["a"], deadline_s=5)
    await registry.close()
    assert observer.heard == ["failed lite ValueError", "loaded lite 10", "text 1", "unloaded lite"]
