"""Heads follow their collection: little is read when little changed, and nothing is lost by that."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest
import pytest_asyncio
from pgvector.psycopg import register_vector_async

from app.bootstrap import Services
from app.collections import head_store, vectors
from app.collections.directory import Directory, KnownCollection
from app.collections.errors import EmptyCollectionError
from app.collections.head_store import HeadStore
from app.collections.texts import TEMPLATES
from app.heads import Head
from app.inference.errors import DeadlineExceededError
from app.inference.live import LiveEncoder
from app.storage.database import Database
from tests.cpu_limit import cpu_seconds_at_most
from tests.learning import ask, make, picture, teach

ENCODER = "clip-tiny"
"""Its short vectors are quickly stored, indexed and fitted on."""
MANY = 2_300
LABELS = 5


@pytest_asyncio.fixture(loop_scope="session")
async def live(services: Services) -> AsyncIterator[LiveEncoder]:
    async with services.registry.encoder(ENCODER) as lent:
        yield lent


class Rows:
    """Counts the vectors that heads are fitted on as they are read, beside reading them as ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        stream = vectors.stream

        async def counted(*arguments):  # type: ignore[no-untyped-def]
            async for rows in stream(*arguments):
                self.read += len(rows)
                yield rows

        monkeypatch.setattr(head_store.vectors, "stream", counted)


async def fill(services: Services, name: str, live: LiveEncoder) -> None:
    """Many examples around random centres, as one change of the collection's version."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((LABELS, live.dim))
    url = services.addresses.database_url
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await register_vector_async(connection)
        found = await connection.execute(
            "UPDATE collections SET version = version + 1 WHERE name = %s RETURNING id, version", [name]
        )
        collection, version = await found.fetchone() or (None, 0)
        ids = [(uuid.uuid4(), row % LABELS) for row in range(MANY)]
        async with connection.cursor() as cursor:
            labels = []
            for label in range(LABELS):
                made = await cursor.execute(
                    "INSERT INTO labels (collection_id, name, description) VALUES (%s, %s, '') RETURNING id",
                    [collection, f"made {label}"],
                )
                labels += [(await made.fetchone() or [0])[0]]
            columns = "(id, collection_id, label_id, image_sha256, version)"
            async with cursor.copy(f"COPY examples {columns} FROM STDIN") as copy:
                for example, label in ids:
                    await copy.write_row((example, collection, labels[label], example.hex, version))
            columns = "(example_id, encoder, collection_id, vector)"
            async with cursor.copy(f"COPY example_vectors {columns} FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["uuid", "text", "uuid", "vector"])
                for example, label in ids:
                    row = centres[label] + dice.standard_normal(live.dim)
                    await copy.write_row(
                        (example, live.key, collection, (row / np.linalg.norm(row)).astype(np.float32))
                    )


def store(services: Services, keep: int = 4, deadline_s: float = 30) -> HeadStore:
    """A store that knows nothing yet."""
    directory = Directory(services.database, services.redis, interval_s=60)
    return HeadStore(services.database, services.registry, directory, keep=keep, deadline_s=deadline_s)


async def find_collection(services: Services, client: httpx.AsyncClient, name: str) -> KnownCollection:
    """The newest version, asked of the database."""
    workspace = (await services.keys.find(client.headers["authorization"].removeprefix("Bearer "))).workspace  # type: ignore[union-attr]
    return await Directory(services.database, services.redis, interval_s=60).get(workspace, name)


def assert_same(one: Head, other: Head, dim: int) -> None:
    """Both say the same of anything."""
    assert one.labels == other.labels
    assert one.threshold == pytest.approx(other.threshold, abs=1e-3)
    rows = np.random.default_rng(9).standard_normal((20, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    first, second = one.predict(rows), other.predict(rows)
    np.testing.assert_allclose(first.scores, second.scores, atol=2e-3)
    np.testing.assert_allclose(first.none, second.none, atol=2e-3)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_following_changes_equals_reading_everything(
    client: httpx.AsyncClient,
    services: Services,
    live: LiveEncoder,
    monkeypatch: pytest.MonkeyPatch,
    large: bool,
) -> None:
    name = "large" if large else "small"
    await make(client, name, ENCODER)
    one, two, _ = await teach(client, "real", picture(1), picture(2), picture(3), collection=name)
    if large:
        await fill(services, name, live)
    rows = Rows(monkeypatch)
    following = store(services)
    await following.head(await find_collection(services, client, name), live)
    assert rows.read == 3 + (MANY if large else 0)

    # one is added, one that was known goes, and one comes and goes before anybody looks
    rows.read = 0
    (brief,) = await teach(client, "brief", picture(5), collection=name)
    await teach(client, "added", picture(4), collection=name)
    path = f"/v1/collections/{name}/examples"
    await client.delete(f"{path}/{one['id']}")
    await client.delete(f"{path}/{brief['id']}")
    after = await following.head(await find_collection(services, client, name), live)
    assert rows.read == 2
    assert "added" in after.labels
    assert "brief" not in after.labels
    assert_same(
        after, await store(services).head(await find_collection(services, client, name), live), live.dim
    )

    # what is described anew needs no vector at all; what comes back after it went counts again
    rows.read = 0
    await teach(client, "real", picture(2), collection=name, description="a pattern of coloured blocks")
    await following.head(await find_collection(services, client, name), live)
    assert rows.read == 0
    await client.delete(f"{path}/{two['id']}")
    await teach(client, "real", picture(2), collection=name)
    after = await following.head(await find_collection(services, client, name), live)
    assert rows.read == 2
    assert_same(
        after, await store(services).head(await find_collection(services, client, name), live), live.dim
    )


async def test_one_that_slept_through_noted_removals_reads_everything(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(client, "sleepy", ENCODER)
    added = await teach(client, "a", *(picture(seed) for seed in range(6)), collection="sleepy")
    following = store(services)
    await following.head(await find_collection(services, client, "sleepy"), live)
    await client.delete(f"/v1/collections/sleepy/examples/{added[0]['id']}")
    async with await psycopg.AsyncConnection.connect(services.addresses.database_url) as connection:
        await connection.execute("UPDATE removals SET removed_at = now() - interval '1 hour'")
    await client.delete(f"/v1/collections/sleepy/examples/{added[1]['id']}")  # purges what is noted
    rows = Rows(monkeypatch)
    after = await following.head(await find_collection(services, client, "sleepy"), live)
    assert rows.read == 4
    fresh = await store(services).head(await find_collection(services, client, "sleepy"), live)
    assert_same(after, fresh, live.dim)


async def test_requests_that_come_together_share_one_fit(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(client, "shared", ENCODER)
    await teach(client, "a", picture(1), picture(2), collection="shared")
    rows = Rows(monkeypatch)
    fresh = store(services)
    collection = await find_collection(services, client, "shared")
    heads = await asyncio.gather(*(fresh.head(collection, live) for _ in range(10)))
    assert rows.read == 2
    assert all(head is heads[0] for head in heads)


async def test_a_change_in_the_moment_a_fit_ends_is_fitted(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks between the end of a fit and the event loop's telling of it gets a newer one: waiting for what has ended
    would let nothing else of the service run.
    """
    await make(client, "moment", ENCODER)
    await teach(client, "a", picture(1), collection="moment")
    fresh = store(services)
    refit = HeadStore._refit
    asked: list[asyncio.Task[Head]] = []

    async def refit_then_ask(*arguments: Any) -> Any:
        fitted = await refit(*arguments)
        if not asked:
            await teach(client, "b", picture(2), collection="moment")
            newer = await find_collection(services, client, "moment")
            asked.append(asyncio.create_task(fresh.head(newer, live)))  # its first step comes before the news
        return fitted

    monkeypatch.setattr(HeadStore, "_refit", refit_then_ask)
    with cpu_seconds_at_most(30):
        assert (await fresh.head(await find_collection(services, client, "moment"), live)).labels == ["a"]
        assert (await asked[0]).labels == ["a", "b"]
    await fresh.close()


async def test_only_so_many_fits_hold_a_connection_at_a_time(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    for number in range(4):
        await make(client, f"many-{number}", ENCODER)
        await teach(client, "a", picture(number), collection=f"many-{number}")
        places.append(await find_collection(services, client, f"many-{number}"))
    directory = Directory(services.database, services.redis, interval_s=60)
    small = Database(services.addresses.database_url, pool_size=2)
    few = HeadStore(small, services.registry, directory, keep=4, deadline_s=30)
    stream, under_way, most = vectors.stream, 0, 0

    async def counted(*arguments):  # type: ignore[no-untyped-def]
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)
        async for rows in stream(*arguments):
            yield rows
        under_way -= 1

    monkeypatch.setattr(head_store.vectors, "stream", counted)
    assert len(await asyncio.gather(*(few.head(place, live) for place in places))) == 4
    assert most == 2
    await small.close()


async def test_a_fit_goes_on_when_the_one_who_asked_leaves(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(client, "left", ENCODER)
    await teach(client, "a", picture(1), collection="left")
    rows = Rows(monkeypatch)
    fresh = store(services)
    collection = await find_collection(services, client, "left")
    asked = asyncio.create_task(fresh.head(collection, live))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert await fresh.head(collection, live)
    assert rows.read == 1
    await fresh.close()


async def test_a_version_that_nobody_wrote_is_not_waited_for(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder
) -> None:
    await make(client, "future", ENCODER)
    await teach(client, "a", picture(1), collection="future")
    collection = await find_collection(services, client, "future")
    future = KnownCollection(
        collection.id, collection.workspace, collection.name, collection.encoder, collection.version + 1000
    )
    async with asyncio.timeout(20):
        assert (await store(services).head(future, live)).labels == ["a"]


async def test_only_so_many_heads_are_kept(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = store(services, keep=2)
    places = []
    for name in ("x", "y", "z"):
        await make(client, f"kept-{name}", ENCODER)
        await teach(client, name, picture(1), collection=f"kept-{name}")
        places.append(await find_collection(services, client, f"kept-{name}"))
    for place in places:
        await few.head(place, live)
    rows = Rows(monkeypatch)
    await few.head(places[2], live)
    assert rows.read == 0
    await few.head(places[0], live)
    assert rows.read == 1


async def test_an_empty_collection_has_no_head(
    client: httpx.AsyncClient, services: Services, live: LiveEncoder
) -> None:
    await make(client, "empty", ENCODER)
    with pytest.raises(EmptyCollectionError):
        await store(services).head(await find_collection(services, client, "empty"), live)


async def test_a_description_tells_labels_apart(client: httpx.AsyncClient) -> None:
    """The same picture under two made-up names: only the descriptions differ."""
    await teach(client, "SKU-1", picture(1), description="a photo of noise")
    await teach(client, "SKU-2", picture(1))
    before = {score["label"]: score["score"] for score in (await ask(client, picture(1)))["scores"]}
    await teach(client, "SKU-2", picture(1), description="a rocket on its launch pad")
    after = {score["label"]: score["score"] for score in (await ask(client, picture(1)))["scores"]}
    assert before != after


async def test_labels_that_many_name_at_once_are_embedded_by_one_of_them(
    services: Services, live: LiveEncoder
) -> None:
    """A hundred requests with the same new labels would otherwise fill the model's queue with the same texts."""
    heads = services.recognition.heads
    labels = tuple(f"thing number {number}" for number in range(20))
    before = live.stats().items
    first = asyncio.create_task(heads.zero_shot(live, labels))
    others = [asyncio.create_task(heads.zero_shot(live, labels)) for _ in range(100)]
    await asyncio.sleep(0)
    first.cancel()  # the one that embeds leaves, and another takes over
    found = await asyncio.gather(*others)
    assert {id(head) for head in found} == {id(found[0])}
    assert live.stats().items - before <= 2 * len(labels) * len(TEMPLATES)


async def test_who_waits_for_labels_that_a_stuck_model_names_is_told_in_time(services: Services) -> None:
    """Each one that waits would otherwise try it in turn, for as long as the model takes to fail."""

    class Stuck:
        key, name, family, fingerprint, dim, reads_texts = "stuck@0", "stuck", "lite", "0" * 16, 4, True

        async def embed_texts(self, texts: Sequence[str], *, deadline_s: float) -> Any:
            await asyncio.Event().wait()

    stuck: Any = Stuck()
    heads = store(services, deadline_s=0.3)
    async with asyncio.timeout(30):
        asked = [heads.zero_shot(stuck, ("a cat", "a dog")) for _ in range(5)]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(error) for error in found} == {DeadlineExceededError}
    await heads.close()
