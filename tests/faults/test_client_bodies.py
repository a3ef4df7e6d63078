"""Bodies that are almost right, at other clients' routes: no failure of ours, and errors as they read them."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from tests.compat.wild_bodies import find_fault, make_request


@pytest.mark.slow
async def test_wild_bodies_are_answered_in_each_protocols_words(client: httpx.AsyncClient) -> None:
    statuses: Counter[int] = Counter()
    for seed in range(600):
        wild = make_request(seed)
        reply = await client.request(wild.method, wild.path, headers=wild.headers, content=wild.body)
        assert find_fault(wild, reply) is None, (seed, wild.path, wild.body[:500], reply.text[:500])
        statuses[reply.status_code] += 1
    assert statuses[200] > 50
    assert statuses[400] > 100
