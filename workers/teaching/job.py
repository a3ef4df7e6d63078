"""Teaches a collection the labelled examples of a dataset: embedded in order, added a few at a time.

Adding an example that is there already changes nothing, so an attempt that is repeated does no harm.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence

import numpy as np

from app.collections.errors import CollectionNotFoundError
from app.collections.service import NewExample, add_examples, lock_images
from app.collections.tables import Collection
from app.collections.vectors import to_sql
from app.errors import InvalidInputError, TooLargeError
from app.families import DEFAULT_ENCODER
from app.families.encoders import load_encoder, resolve
from app.inference.aspect import bound_aspect
from app.inference.protocols import Encoder, min_decoded_side
from app.inference.sources import EncoderConfig
from app.jobs import machine
from app.jobs.errors import NotTrainableError
from app.jobs.spec import Outcome
from app.media import images
from app.media.images import ImageLimits
from app.storage.database import Database
from workers.shared.data import load_examples
from workers.shared.examples import Item
from workers.shared.run import JobRun
from workers.shared.store import LostError

_CHUNK = 32


def teach(run: JobRun) -> Outcome:
    """Add the examples of the splits that the job names; raises CollectionNotFoundError, NotTrainableError."""
    spec = run.spec
    splits = set(spec.params["splits"])
    examples = load_examples(run)
    items = sorted(
        (item for item in examples.items if item.label and (item.split or "train") in splits),
        key=lambda item: (item.label or "", item.sha256),
    )
    if not items:
        raise NotTrainableError(f"The dataset has no labelled examples in {' and '.join(sorted(splits))}.")
    encoder = load_encoder(
        resolve(spec.base_model or DEFAULT_ENCODER), EncoderConfig.from_settings(run.settings)
    )
    run.phase("fitting")
    added = asyncio.run(_add(run, encoder, items))
    return Outcome(result={"added": added, "examples": len(items)}, metrics={"added": added})


async def _add(run: JobRun, encoder: Encoder, items: Sequence[Item]) -> int:
    database = Database(run.settings.server.database_url or "", pool_size=1)
    key = f"{encoder.name}@{encoder.fingerprint}"
    collection = uuid.UUID(run.spec.params["collection"])
    mine = {"id": run.task.job, "fence": run.task.fence}
    added = done = 0
    try:
        for label, group in itertools.groupby(items, key=lambda item: item.label or ""):
            while chunk := list(itertools.islice(group, _CHUNK)):
                new = _embed(run, encoder, chunk)
                async with database.session() as session:
                    if await session.scalar(machine.HOLD, mine) is None:
                        raise LostError
                    await lock_images(session, [example.image_sha256 for example in new])
                    row = await session.get(Collection, collection, with_for_update=True)
                    if row is None or row.encoder != run.spec.base_model:
                        raise CollectionNotFoundError(
                            "The collection is gone, or bound to another encoder now."
                        )
                    found = await add_examples(session, row, label, "", new, key)
                added += sum(example.created for example in found)
                done += len(chunk)
                run.step(done, len(items), added=added)
                run.stop_if_asked()
    finally:
        await database.close()
    return added


def _embed(run: JobRun, encoder: Encoder, items: Sequence[Item]) -> list[NewExample]:
    limits = ImageLimits.from_settings(run.settings)
    pixels, hashes, sizes = [], [], []
    for item in items:
        try:
            data = run.images.read(item.sha256)
            image = images.decode_pixels(data, limits, min_side=min_decoded_side(encoder))
        except (FileNotFoundError, InvalidInputError, TooLargeError):
            run.log(f"The image {item.sha256} is gone or damaged and was left out.")
            continue
        pixels.append(encoder.preprocess(bound_aspect(image)))
        hashes.append(item.sha256)
        sizes.append(len(data))
    step = run.settings.batching.cpu_max_batch
    vectors = [
        row
        for start in range(0, len(pixels), step)
        for row in encoder.encode_images(np.stack(pixels[start : start + step]))
    ]
    return [
        NewExample(sha256, to_sql(vector), size)
        for sha256, vector, size in zip(hashes, vectors, sizes, strict=True)
    ]
