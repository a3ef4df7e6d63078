"""Places are bounded, tenants take turns, and what waits leaves cleanly."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from app.errors import OverloadedError
from app.inference.errors import DeadlineExceededError
from app.inference.fair_semaphore import FairSemaphore


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


async def settle() -> None:
    """Let every task run up to where it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


class Counts:
    """What the processes of one service count together."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()

    def add(self, tenant: str, count: int) -> None:
        self.inside[tenant] += count

    def is_behind(self, tenant: str) -> bool:
        return self.inside[tenant] < max(self.inside.values(), default=0)


class Crowd:
    """Callers that come in by `enter` and stay until `leave`."""

    def __init__(self, places: FairSemaphore) -> None:
        self.places = places
        self.order: list[str] = []
        self._done = asyncio.Event()
        self._steps = asyncio.Semaphore(0)

    async def stay(self, tenant: str) -> None:
        async with self.places.hold(tenant, deadline=soon()):
            self.order.append(tenant)
            await self._steps.acquire()

    def enter(self, tenant: str) -> asyncio.Task[None]:
        return asyncio.create_task(self.stay(tenant))

    async def leave(self, count: int) -> None:
        for _ in range(count):
            self._steps.release()
            await settle()


async def test_a_flood_leaves_every_other_caller_its_turn() -> None:
    crowd = Crowd(FairSemaphore(1, 100))
    flood = [crowd.enter("flood") for _ in range(20)]
    await settle()
    few = [crowd.enter("few") for _ in range(5)]
    await settle()
    await crowd.leave(25)
    await asyncio.gather(*flood, *few)
    # beyond the one that was in already, turn and turn about while both wait
    assert crowd.order[1:11] == ["flood", "few"] * 5
    assert Counter(crowd.order) == {"flood": 20, "few": 5}
    assert crowd.places.waiting == 0


async def test_callers_of_one_tenant_keep_their_order_and_nobody_waits_for_nothing() -> None:
    places = FairSemaphore(2, 10)
    seen: list[int] = []

    async def stay(number: int) -> None:
        async with places.hold("one", deadline=soon()):
            seen.append(number)

    await asyncio.gather(*(stay(number) for number in range(10)))
    assert seen == list(range(10))
    async with places.hold("one", deadline=soon()), places.hold("two", deadline=soon()):
        assert places.waiting == 0


async def test_a_full_queue_refuses_the_flood_and_takes_the_newcomer() -> None:
    counts: list[int] = []
    places = FairSemaphore(1, 4, counts.append)
    crowd = Crowd(places)
    flood = [crowd.enter("flood") for _ in range(5)]
    await settle()
    with pytest.raises(OverloadedError) as refused:
        await crowd.stay("flood")
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1
    few = [crowd.enter("few") for _ in range(2)]
    await settle()
    assert [isinstance(task.exception(), OverloadedError) for task in flood if task.done()] == [True, True]
    with pytest.raises(OverloadedError):  # two of each wait: nobody has more than his share
        await crowd.stay("few")
    assert max(counts) == 4
    await crowd.leave(5)
    assert Counter(crowd.order) == {"flood": 3, "few": 2}
    await asyncio.gather(*few)
    await asyncio.gather(*flood, return_exceptions=True)
    assert counts[-1] == 0


async def test_who_waits_too_long_or_leaves_gives_its_place_up() -> None:
    places = FairSemaphore(1, 10)
    crowd = Crowd(places)
    first = crowd.enter("one")
    await settle()
    with pytest.raises(DeadlineExceededError):
        async with places.hold("two", deadline=soon(0.01)):
            pytest.fail("nobody left")
    gone = crowd.enter("two")
    await settle()
    gone.cancel()
    await settle()
    assert places.waiting == 0
    last = crowd.enter("three")
    await crowd.leave(2)
    await asyncio.gather(first, last)
    assert crowd.order == ["one", "three"]


async def test_who_came_to_one_of_three_processes_alone_is_let_in_as_often_as_the_flood() -> None:
    counts = Counts()
    crowds = [Crowd(FairSemaphore(4, 50, in_flight=counts)) for _ in range(3)]
    flood = [crowd.enter("flood") for crowd in crowds for _ in range(20)]
    await settle()
    assert counts.inside == {"flood": 12}, "who is alone has the places that there are"
    few = [crowds[0].enter("few") for _ in range(20)]
    await settle()
    assert counts.inside == {"flood": 12, "few": 4}, "beyond its part at once, and never beyond twice of it"
    for _ in range(8):
        for crowd in crowds:
            await crowd.leave(1)
    assert counts.inside["few"] > 12 / 3, counts.inside
    assert "flood" in crowds[0].order[8:], "the flood has its turns there too"
    for crowd in crowds:
        await crowd.leave(40)
    await asyncio.gather(*flood, *few)
    assert not counts.inside.total()


@pytest.mark.parametrize("counts", [None, Counts()])
@pytest.mark.parametrize("seed", range(8))
async def test_no_place_is_lost_or_made_whatever_happens(seed: int, counts: Counts | None) -> None:
    """Callers that stay, fail, leave, and come too late, at random; the same number of places is there afterwards."""
    chance = random.Random(seed)
    places = FairSemaphore(3, 6, in_flight=counts)
    inside = most = 0

    async def stay(tenant: str) -> None:
        nonlocal inside, most
        async with places.hold(tenant, deadline=soon(chance.choice([60, 0.001]))):
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(chance.choice([0, 0, 0.001, 0.002]))
                if chance.random() < 0.2:
                    raise RuntimeError("it failed inside")
            finally:
                inside -= 1

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(stay(chance.choice("abc"))))
        if chance.random() < 0.3:
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert inside == 0
    assert most <= 3 if counts is None else most <= 6
    assert counts is None or not any(counts.inside.values())
    assert places.waiting == 0
    crowd = Crowd(places)
    again = [crowd.enter("again") for _ in range(4)]
    await settle()
    assert len(crowd.order) == 3
    await crowd.leave(4)
    await asyncio.gather(*again)
