"""Jobs between two workers, the service and the sweeper, on a real database: whatever the order, the table decides.

Every step of a seeded interleaving is compared with what `machine.TABLE` and the guards beside it say.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import dict_row

from app.embedded import Addresses
from app.jobs import machine, repository
from app.jobs.spec import Checkpoint, FileRef, JobSpec, ModelCard, Outcome
from app.settings import Settings
from app.storage.database import Database
from workers.shared.store import JobStore, LostError, OwnedJob, worker_engine
from workers.worker.sweeper import Sweeper

CAP = 3
WAITS = 2
"""Times a job is put off before such attempts are charged."""
TERMINAL = {"succeeded", "failed", "cancelled"}
OWNERS = {"renew", "report", "checkpoint", "succeed", "fail", "crash", "release", "postpone", "stop"}
SPEC = JobSpec(kind="train", task="classification", method="head", base_model="lite", base_kind="encoder")


@dataclass
class Model:
    """What a job should be like."""

    state: str = "queued"
    fence: int = 0
    attempt: int = 0
    cancel: bool = False
    lapsed: bool = False
    """Whether nobody holds a lease on the running job any more."""
    waits: int = 0
    put_off: bool = False
    """Whether the queued job is not to be claimed yet."""

    def allows(self, event: str, fence: int) -> bool:
        """The table, and the guards that its statements add."""
        if (self.state, event) not in machine.TABLE:
            return False
        unowned = self.state == "queued" or self.lapsed
        if event in OWNERS:
            return fence == self.fence and not self.lapsed and (event != "stop" or self.cancel)
        if event == "claim":
            return unowned and not self.cancel and self.attempt < CAP and not self.put_off
        if event == "sweep cancelled":
            return unowned and self.cancel
        if event == "sweep exhausted":
            return unowned and not self.cancel and self.attempt >= CAP
        return True

    def apply(self, event: str) -> None:
        """What an allowed event makes of the job."""
        self.state = machine.TABLE[self.state, event][0]
        match event:
            case "claim":
                self.fence += 1
                self.attempt += 1
            case "release":
                self.attempt -= 1
            case "postpone":
                self.attempt -= self.waits < WAITS
                self.waits, self.put_off = self.waits + 1, True
            case "retry":
                self.attempt, self.cancel, self.waits, self.put_off = 0, False, 0, False
            case "cancel":
                self.cancel = True
        self.lapsed &= self.state == "running" and event != "claim"


@dataclass
class World:
    """One job, everybody who may touch it, and its rows."""

    database: Database
    store: JobStore
    sweeper: Sweeper
    connection: psycopg.Connection[dict[str, Any]]
    job: uuid.UUID = field(default_factory=uuid.uuid4)
    held: list[OwnedJob] = field(default_factory=list)
    """Every claim that was ever made, by either worker."""

    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.execute(query, values)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []

    def row(self) -> dict[str, Any]:
        """The job, and how much was told of it."""
        found = self.ask(
            "SELECT jobs.*, (SELECT count(*) FROM job_events WHERE job_id = jobs.id) AS told, "
            "(SELECT count(*) FROM trained_models WHERE job_id = jobs.id) AS models, "
            "(SELECT count(*) FROM artifacts WHERE job_id = jobs.id) AS files FROM jobs WHERE id = %s",
            self.job,
        )
        return found[0]

    def states(self) -> list[str]:
        """Every state the job was said to have taken on, in order."""
        rows = self.ask(
            "SELECT data->>'state' AS state FROM job_events WHERE job_id = %s AND kind = 'state' ORDER BY id",
            self.job,
        )
        return [row["state"] for row in rows]

    async def submit(self) -> None:
        new = repository.NewJob("default", None, SPEC, "cpu", CAP)
        async with self.database.session() as session:
            assert await repository.submit(session, new, self.job, max_open=10_000)

    def lapse(self) -> None:
        """Time passes: whoever runs the job did not renew."""
        self.ask(
            "UPDATE jobs SET lease = now() - interval '1 ms' WHERE id = %s AND state = 'running'", self.job
        )

    def claim(self, worker: str) -> bool:
        claimed = self.store.claim(self.job, worker)
        if claimed is not None:
            self.held.append(claimed)
        return claimed is not None

    async def cancel(self) -> bool:
        """As the service does."""
        async with self.database.session() as session:
            state = await repository.cancel(session, "default", self.job)
            if state == "cancelled":
                await repository.tell(session, self.job, "state", {"state": state})
        return state is not None

    async def retry(self) -> bool:
        """As the service does."""
        async with self.database.session() as session:
            queue = await repository.retry(session, "default", self.job)
            if queue is not None:
                await repository.tell(session, self.job, "state", {"state": "queued", "attempt": 0})
        return queue is not None


def owned(event: str, owner: OwnedJob, step: int) -> bool:
    """Have an owner write; whether it was allowed to."""
    fence = owner.job.fence
    prefix = f"jobs/{owner.job.id}/{fence}"
    acts: dict[str, Callable[[], object]] = {
        "renew": owner.renew,
        "report": lambda: owner.report(phase="fitting", step=step, of=100, metrics={"loss": 1 / (step + 1)}),
        "checkpoint": lambda: owner.checkpoint(
            Checkpoint(prefix=f"{prefix}/checkpoints/{step}", fence=fence, step=step, files={})
        ),
        "succeed": lambda: owner.succeed(outcome(prefix)),
        "fail": lambda: owner.fail("training_failed", "It did not work."),
        "crash": lambda: owner.crash("process_died", "It was killed."),
        "release": owner.release,
        "postpone": lambda: owner.postpone("insufficient_storage", "The disk is full."),
        "stop": owner.stop,
    }
    try:
        acts[event]()
    except LostError:
        return False
    return True


def outcome(prefix: str) -> Outcome:
    card = ModelCard(
        id="twice", kind="classifier", family="lite", task="classification", method="head", base_model="lite"
    )
    file = FileRef(name="vision.json", key=f"{prefix}/artifacts/vision.json", sha256="0" * 64, size=1)
    return Outcome(card=card, artifacts=[file], metrics={"accuracy": 1.0})


@pytest_asyncio.fixture
async def database(module_addresses: Addresses) -> AsyncIterator[Database]:
    made = Database(module_addresses.database_url)
    yield made
    await made.close()


@pytest.fixture
def new_world(
    database: Database, module_addresses: Addresses, tmp_path: Path
) -> Iterator[Callable[[], World]]:
    engine = worker_engine(module_addresses.database_url)
    store = JobStore(engine, lease_s=600, log_lines=10, wait_s=600, waits=WAITS)
    sweeper = Sweeper(Settings(data_dir=tmp_path), module_addresses)
    url = module_addresses.database_url
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        yield lambda: World(database, store, sweeper, connection)
    engine.dispose()


def assert_as(world: World, model: Model, before: dict[str, Any], allowed: bool, what: str) -> dict[str, Any]:
    """The row is what the model says; nothing at all has changed where the event was not allowed."""
    row = world.row()
    assert {name: row[name] for name in ("state", "fence", "attempt", "cancel", "waits")} == {
        "state": model.state,
        "fence": model.fence,
        "attempt": model.attempt,
        "cancel": model.cancel,
        "waits": model.waits,
    }, what
    assert (row["not_before"] is not None) >= model.put_off, what
    if not allowed:
        assert row == before, f"{what} changed something"
    assert row["models"] == row["files"] == (model.state == "succeeded"), what
    assert row["attempt"] <= CAP
    assert (row["finished_at"] is not None) == (row["state"] in TERMINAL), what
    assert (row["lease"] is not None) == (row["state"] == "running"), what
    return row


async def happen(world: World, model: Model, event: str, rng: random.Random, step: int) -> None:
    """One event by whoever it falls to, judged against the model."""
    before = world.row()
    fence = 0
    if event == "lapse":
        world.lapse()
        model.lapsed = model.state == "running"
        return
    if event == "wait":
        world.ask("UPDATE jobs SET not_before = now() - interval '1 ms' WHERE not_before IS NOT NULL")
        model.put_off = False
        return
    if event == "sweep":
        closed = [action for action in ("sweep cancelled", "sweep exhausted") if model.allows(action, 0)]
        world.sweeper.sweep()
        allowed = bool(closed)
        for action in closed:
            model.apply(action)
        before["published_at"] = world.row()[
            "published_at"
        ]  # telling workers of it changes no more than that
    else:
        if event in OWNERS:
            if not world.held:
                return
            owner = world.held[-1] if rng.random() < 0.7 else rng.choice(world.held)
            fence = owner.job.fence
        allowed = model.allows(event, fence)
        if event == "claim":
            done = world.claim(rng.choice("ab"))
        elif event in OWNERS:
            done = owned(event, owner, step)
        else:
            done = await (world.cancel() if event == "cancel" else world.retry())
        assert done == allowed, f"step {step}: {event} by fence {fence} on {model}"
        if allowed:
            model.apply(event)
    assert_as(world, model, before, allowed, f"step {step}: {event} by fence {fence}")


WEIGHTS = {
    "claim": 8,
    "lapse": 4,
    "renew": 3,
    "report": 3,
    "checkpoint": 3,
    "succeed": 1,
    "fail": 1,
    "crash": 3,
    "release": 2,
    "postpone": 3,
    "wait": 3,
    "stop": 2,
    "cancel": 1,
    "retry": 2,
    "sweep": 3,
}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_the_order_the_table_decides(seed: int, new_world: Callable[[], World]) -> None:
    rng = random.Random(seed)
    for _ in range(6):
        world, model = new_world(), Model()
        await world.submit()
        for step in range(40):
            (event,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
            fence = model.fence
            await happen(world, model, event, rng, step)
            assert model.fence >= fence
        assert_a_path(world.states())


def assert_a_path(states: list[str]) -> None:
    """Each state follows from the one before by some event; an end is left by a retry alone."""
    follows = {(before, after) for (before, _), (after, _) in machine.TABLE.items()}
    for before, after in zip(["queued", *states], states, strict=False):
        assert (before, after) in follows, states


async def test_of_many_workers_told_at_once_one_gets_the_job(new_world: Callable[[], World]) -> None:
    world = new_world()
    await world.submit()
    with ThreadPoolExecutor(5) as pool:
        for fence in (1, 2, 3):
            got = list(pool.map(world.claim, [f"worker {number}" for number in range(20)]))
            assert got.count(True) == 1
            assert world.row()["fence"] == fence
            world.lapse()
        assert not any(pool.map(world.claim, "abcde")), "no attempt is left"
    assert [attempt.job.attempt for attempt in world.held] == [1, 2, 3]


@pytest.mark.parametrize("seed", range(6))
async def test_racing_one_another_they_end_a_job_once(seed: int, new_world: Callable[[], World]) -> None:
    """Owners old and new, a cancel and a sweep at the same moment: one of them ends the job."""
    rng = random.Random(seed)
    with ThreadPoolExecutor(5) as pool:
        for _ in range(8):
            world = new_world()
            await world.submit()
            world.claim("a")
            world.lapse()
            world.claim("b")
            if rng.random() < 0.3:
                world.lapse()
            if rng.random() < 0.5:
                world.ask("UPDATE jobs SET cancel = true WHERE id = %s", world.job)
            old, new = world.held
            together = threading.Barrier(5)

            def at_once(act: Callable[[], object], together: threading.Barrier = together) -> None:
                together.wait(60)
                with suppress(LostError):
                    act()

            ends: list[Callable[[], object]] = [
                lambda old=old, world=world: old.succeed(outcome("jobs/old")),
                lambda new=new: new.succeed(outcome("jobs/new")),
                rng.choice([new.stop, lambda new=new: new.fail("training_failed", "It did not work.")]),
                world.sweeper.sweep,
                lambda world=world: world.claim("c"),
            ]
            list(pool.map(at_once, ends))

            row, states = world.row(), world.states()
            assert sum(state in TERMINAL for state in states) == (row["state"] in TERMINAL)
            assert states[-1] == row["state"]
            assert row["models"] == row["files"] == (row["state"] == "succeeded")
            keys = world.ask("SELECT key FROM artifacts WHERE job_id = %s", world.job)
            assert all(key["key"].startswith("jobs/new") for key in keys)
            assert states.count("running") == row["fence"] <= CAP
            assert_a_path(states)
