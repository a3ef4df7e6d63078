"""The real PostgreSQL and Valkey that tests run on, a fresh database for whoever asks, and the app over them.

One pair of embedded servers serves the whole run, and every test's database is a copy of one that was
migrated once, so that tests share nothing and wait for nothing. One app with its model loaded once serves
every test that asks for a client; each client has a workspace of its own.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `vision serve` does, before numpy comes in
# as jobs do, since tests share a machine with one another
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# engines, caches and float32 tolerances are a CPU's: on a machine with a GPU the suite runs as on one without, where
# tests/gpu takes the GPU, and VISION_DEVICE=cuda has every other test take it that does not say where it runs
os.environ.setdefault("VISION_DEVICE", "cpu")

import httpx
import hypothesis
import numpy as np
import psycopg
import pytest
import pytest_asyncio
import redis
from psycopg import sql

from app.embedded import Addresses, EmbeddedError, EmbeddedServers, purge
from app.settings import Settings
from app.storage.database import migrate
from tests.browser.chromium import MISSING
from tests.live import Live, launch
from tests.made_engines import STEADY, engines_folder, share_engines

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.bootstrap import Services

TESTS = Path(__file__).parent
LONG_FILES = (
    "faults/test_many_shot.py",
    "acceptance/test_source_document.py",
    "integration/workers/test_vlm_jobs.py",
    "faults/test_processes.py",
    "acceptance/test_many_shot_cli.py",
    "browser/test_models_and_datasets.py",
    "faults/test_jobs.py",
    "integration/models/test_model_uploads.py",
    "acceptance/test_serving.py",
    "integration/workers/test_lora_vlm.py",
    "faults/test_hostile_uploads.py",
    "browser/test_jobs.py",
    "acceptance/test_sdk.py",
    "faults/test_supervisor.py",
    "acceptance/test_starting.py",
    "acceptance/test_training_cli.py",
    "integration/families/test_family_dinov2.py",
    "acceptance/test_seed_yaml.py",
    "browser/test_keys.py",
    "integration/workers/test_methods.py",
    "acceptance/test_first_hour.py",
    "integration/models/test_model_jobs.py",
    "integration/workers/test_lora_encoders.py",
    "browser/test_every_screen.py",
    "faults/test_storm.py",
    "integration/families/test_optimisation.py",
    "integration/workers/test_vlm_exports.py",
    "browser/test_teach_kept.py",
    "browser/test_review.py",
    "browser/test_teach.py",
    "acceptance/test_review.py",
    "acceptance/test_answering.py",
)
"""What takes longest, in that order: no other file comes near a half minute."""
TEMPLATE = "migrated"
_numbers = itertools.count(1)
_redis_databases = deque(range(1, 16))
"""Those that nobody holds, the one let go of longest ago first: what a test left running may still write to its own."""
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")  # a busy machine fails no example, and each run has the same ones


def pytest_configure() -> None:
    """Make what the run's processes share before there are any."""
    engines_folder()


def pytest_collection() -> None:
    """Look for no garbage among modules while they come in."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave the modules out of every later search for garbage: each model that is unloaded starts one."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: one of them at the end leaves the other processes without work."""
    place = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(os.path.relpath(item.path, TESTS), len(place)))


def pytest_runtest_setup() -> None:
    """Each test draws the same numbers, whatever ran before it in its process."""
    random.seed(0)
    np.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One loud line where the page's tests had no browser."""
    skipped = (str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    if any("no Chromium" in reason for reason in skipped):
        terminalreporter.write_line(MISSING, red=True, bold=True)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the run, stop and remove whatever killed services left in its temporary folders."""
    yield
    used = [users.parent.parent for users in tmp_path_factory.getbasetemp().rglob("embedded/users")]

    def clear(data_dir: Path) -> None:
        with suppress(EmbeddedError):
            purge(data_dir)

    # a disk removes many small files slowly, but several folders at a time
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(clear, used))


ServiceStarter = Callable[[dict[str, str]], Live]


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceStarter]:
    """Starts a ready service on a data folder of its own, or hands out the running one that has the same settings.

    Whoever takes it uses collections of its own, or empties the default one first (`Live.forget_everything`).
    """
    running: dict[frozenset[tuple[str, str]], Live] = {}

    def start(settings: dict[str, str]) -> Live:
        key = frozenset(settings.items())
        found = running.get(key)
        if found is None or found.process.poll() is not None:
            running[key] = found = launch(tmp_path_factory.mktemp("shared") / "data", **settings)
            found.wait_until_ready()
        return found

    try:
        yield start
    finally:
        for live in running.values():  # all before the first is waited for
            if live.process.poll() is None:
                live.process.terminate()
        for live in running.values():
            live.end()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """The run's PostgreSQL and Valkey; take `addresses` unless you make databases yourself."""
    data_dir = tmp_path_factory.mktemp("servers")
    embedded = EmbeddedServers(data_dir, durable=False)
    try:
        yield embedded.start()
    finally:
        embedded.stop()
        purge(data_dir)


@pytest.fixture(scope="session")
def migrated(servers: Addresses) -> str:
    """URL of a database at the newest revision that nobody connects to: the others are copied from it."""
    _maintain(servers, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    url = database_named(servers, TEMPLATE)
    migrate(url)
    return url


@pytest.fixture
def addresses(servers: Addresses, migrated: str) -> Iterator[Addresses]:
    """A migrated, empty database and an empty Redis database of this test's own."""
    with fresh_stores(servers) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def module_addresses(servers: Addresses, migrated: str) -> Iterator[Addresses]:
    """The same, shared by the tests of one module."""
    with fresh_stores(servers) as fresh:
        yield fresh


@pytest.fixture
def database_url(addresses: Addresses) -> str:
    """URL of this test's migrated, empty database."""
    return addresses.database_url


@pytest.fixture
def redis_url(addresses: Addresses) -> str:
    """URL of this test's empty Redis database."""
    return addresses.redis_url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(
    servers: Addresses, migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FastAPI]:
    """The whole service in this process, started, on stores of its own; shared by the run."""
    from app.main import create_app

    # comparing takes seconds at the end of each training; tests/acceptance and test_methods do it
    settings = Settings(
        data_dir=share_engines(tmp_path_factory.mktemp("app")),
        compare_images=0,
        **STEADY,
    )
    with fresh_stores(servers) as stores:
        made = create_app(settings, stores)
        async with made.router.lifespan_context(made):
            await made.state.services.default_model.loading
            yield made


@pytest.fixture(scope="session")
def services(app: FastAPI) -> Services:
    """What the app leans on."""
    found: Services = app.state.services
    return found


ClientMaker = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest_asyncio.fixture(loop_scope="session")
async def make_client(app: FastAPI) -> AsyncIterator[ClientMaker]:
    """`await make_client(workspace=..., scopes=...)`: a client with a key of its own."""
    async with make_clients(app) as make:
        yield make


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The same as `client`, shared by the tests of one module."""
    async with make_clients(app) as make:
        yield await make()


@asynccontextmanager
async def make_clients(app: FastAPI) -> AsyncIterator[ClientMaker]:
    """What makes clients that are closed after the block."""
    async with AsyncExitStack() as stack:

        async def make(
            workspace: str | None = None, scopes: Sequence[str] = ("recognise", "learn", "train")
        ) -> httpx.AsyncClient:
            workspace = workspace or f"test-{next(_numbers)}"
            _, key = await app.state.services.keys.create(name="test", workspace=workspace, scopes=scopes)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://127.0.0.1",
                headers={"Authorization": f"Bearer {key}"},
            )
            return await stack.enter_async_context(client)

        yield make


@pytest_asyncio.fixture(loop_scope="session")
async def client(make_client: ClientMaker) -> httpx.AsyncClient:
    """A client that may recognise, learn and train in an empty workspace of its own."""
    return await make_client()


@pytest_asyncio.fixture(loop_scope="session")
async def anonymous(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, on this machine: the workspace `default`, all scopes."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as made:
        yield made


@contextmanager
def fresh_stores(servers: Addresses) -> Iterator[Addresses]:
    """A copy of the migrated database and an emptied Redis database that nobody else holds, for a block."""
    number = next(_numbers)
    name = sql.Identifier(f"test_{number}")
    redis_database = _redis_databases.popleft()
    redis_url = servers.redis_url.replace("?db=0", f"?db={redis_database}")
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    _maintain(servers, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(TEMPLATE)))
    try:
        yield Addresses(database_named(servers, f"test_{number}"), redis_url)
    finally:
        _redis_databases.append(redis_database)
        drop_database(servers, f"test_{number}")


def drop_database(servers: Addresses, name: str, deadline_s: float = 60) -> None:
    """Drop a database with whoever is connected to it, if it is there.

    PostgreSQL refuses while its own autovacuum, which only a superuser may end, is at work there, and where whom it
    ends takes five seconds to go.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            _maintain(
                servers, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
            return
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def database_named(servers: Addresses, name: str) -> str:
    """URL of another database on the same server."""
    return urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()


def _maintain(servers: Addresses, statement: sql.Composed) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(statement)
