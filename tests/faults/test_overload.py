"""More clients than can be served: refused with a time to come back, in fair shares, at no cost that stays."""

from __future__ import annotations

import pytest

from benchmarks.overload import FEW, overload
from tests.live import Live


@pytest.mark.slow
async def test_a_workspace_that_floods_leaves_others_their_share(service: Live) -> None:
    """`python -m benchmarks.overload` is the same for a minute with 256 clients.

    Where other processes keep these clients from asking, they cannot use their share: it is measured again.
    """
    measured = []
    for _ in range(3):
        found = await overload(service, clients=120, few=FEW, seconds=8)
        for tally in (found.flood, found.few):
            assert not tally.wrong, tally.wrong[:5]
            assert set(tally.statuses) <= {200, 503}, tally.statuses
        assert found.flood.statuses[503], "the queue has no bound"
        assert not found.few.statuses[503], "who has less than his share was refused"
        assert found.growth_mb < 150, [round(bytes_ / 2**20) for bytes_ in found.memory]
        measured.append((found.share, found.flood.statuses, found.few.statuses))
        if found.share >= 1 / 3:
            break
    assert found.share >= 1 / 3, measured
