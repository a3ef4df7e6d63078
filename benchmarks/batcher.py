"""What the batcher itself costs: microseconds an item at 1, 8 and 32 submitters, its work being nothing.

No model runs: a real model's time comes on top of these numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from app.inference.batcher import Batcher


async def microseconds_an_item(clients: int, items: int) -> tuple[float, float]:
    """(wall microseconds an item, mean batch size) with so many submitters, each waiting for its result."""
    batcher: Batcher[int, int] = Batcher("nothing", lambda group, batch: batch, max_batch=32, max_queue=256)

    async def client() -> None:
        for n in range(items // clients):
            await batcher.submit("image", n, deadline=time.monotonic() + 30)

    try:
        await client()
        before = batcher.stats()
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        took = time.perf_counter() - began
        after = batcher.stats()
    finally:
        await asyncio.to_thread(batcher.close)
    done = after.items - before.items
    return took / done * 1e6, done / (after.batches - before.batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    items = parser.parse_args().items
    print("clients  us/item  mean batch")
    for clients in (1, 8, 32):
        cost, batch = asyncio.run(microseconds_an_item(clients, items))
        print(f"{clients:7d}  {cost:7.1f}  {batch:10.1f}")


if __name__ == "__main__":
    main()
