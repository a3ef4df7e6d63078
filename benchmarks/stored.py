"""What a large collection costs: classify time against few and many stored examples, and the fit of a head.

Knows the tables, into which it copies synthetic examples; a real upload of 100,000 images would take an hour.
"""

from __future__ import annotations

import time
import uuid
from statistics import median

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector

from app.embedded import EmbeddedServers
from app.heads import SupportSet, fit_head, priors_of
from app.inference.protocols import Encoder
from tests.live import Live

LABELS = 100
_CHUNK = 2_000


def classify_against_stored(live: Live, images: list[bytes], count: int) -> tuple[float, float, float]:
    """Median seconds of classifying against 10 and `count` examples, and of the first such request."""
    with live.client() as client:
        for name in ("few", "many"):
            client.post("/v1/collections", json={"name": name}).raise_for_status()
        for index in range(10):
            form = {"label": f"label {index}"}
            path = "/v1/collections/few/examples"
            client.post(path, data=form, files={"images": images[index]}).raise_for_status()
        # one real example, so that the collection has its encoder and its index
        path = "/v1/collections/many/examples"
        client.post(path, data={"label": "label 0"}, files={"images": images[0]}).raise_for_status()

        servers = EmbeddedServers(live.data_dir)
        try:
            copy_examples(servers.start().database_url, "many", count)
        finally:
            servers.stop()

        def classify(collection: str, image: bytes) -> float:
            begun = time.perf_counter()
            params = {"collection": collection, "top_k": 5}
            client.post("/v1/classify", params=params, files={"image": image}).raise_for_status()
            return time.perf_counter() - begun

        client.timeout = 600
        time.sleep(2)  # the service looks at versions every second
        first = classify("many", images[0])
        classify("few", images[0])
        took: dict[str, list[float]] = {"few": [], "many": []}
        for turn in range(60):
            for name, list_ in took.items():
                list_.append(classify(name, images[turn % len(images)]))
    return median(took["few"]), median(took["many"]), first


def copy_examples(database_url: str, collection: str, count: int) -> None:
    """Copy unit vectors around 100 random centres into the collection, as one change of its version.

    The vector index is dropped first (building it over this many takes minutes, and classifying reads none).
    """
    dice = np.random.default_rng(0)
    with psycopg.connect(database_url) as connection:
        register_vector(connection)
        (collection_id, version) = _one(
            connection, "SELECT id, version FROM collections WHERE name = %s", collection
        )
        (encoder, dim) = _one(
            connection,
            "SELECT encoder, vector_dims(vector) FROM example_vectors WHERE collection_id = %s",
            collection_id,
        )
        indexes = connection.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'example_vectors' AND indexdef LIKE '%hnsw%'"
        )
        for (index,) in indexes.fetchall():
            connection.execute(f'DROP INDEX "{index}"')
        connection.cursor().executemany(
            "INSERT INTO labels (collection_id, name, description) VALUES (%s, %s, '')"
            " ON CONFLICT DO NOTHING",
            [(collection_id, f"label {index}") for index in range(LABELS)],
        )
        labels = connection.execute(
            "SELECT id FROM labels WHERE collection_id = %s", [collection_id]
        ).fetchall()
        centres = dice.standard_normal((LABELS, dim))
        for start in range(0, count, _CHUNK):
            rows = range(start, min(start + _CHUNK, count))
            ids = [uuid.uuid4() for _ in rows]
            vectors = centres[[row % LABELS for row in rows]] + dice.standard_normal((len(ids), dim))
            unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
            with connection.cursor() as cursor:
                columns = "(id, collection_id, label_id, image_sha256, version)"
                with cursor.copy(f"COPY examples {columns} FROM STDIN") as copy:
                    for row, id_ in zip(rows, ids, strict=True):
                        copy.write_row(
                            (id_, collection_id, labels[row % LABELS][0], f"{row:064x}", version + 1)
                        )
                columns = "(example_id, encoder, collection_id, vector)"
                with cursor.copy(f"COPY example_vectors {columns} FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["uuid", "text", "uuid", "vector"])
                    for id_, vector in zip(ids, unit, strict=True):
                        copy.write_row((id_, encoder, collection_id, vector))
        connection.execute("UPDATE collections SET version = %s WHERE id = %s", [version + 1, collection_id])


def head_fit_s(encoder: Encoder, shots: int = 10) -> float:
    """Median seconds of fitting the head of a collection of 100 labels."""
    dice = np.random.default_rng(1)
    labels = [f"label {index}" for index in range(LABELS)]
    texts = unit_rows(encoder.encode_texts(labels))
    rows = unit_rows(dice.standard_normal((LABELS, encoder.dim)).astype(np.float32))
    supports = unit_rows(
        np.repeat(rows, shots, 0) + 0.7 * dice.standard_normal((LABELS * shots, encoder.dim))
    )
    label_ids = np.arange(LABELS, dtype=np.int64)
    stored = SupportSet(encoder.dim)
    stored.add(np.repeat(label_ids, shots), supports)
    priors = priors_of(encoder)
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        fit_head(labels, texts, stored, label_ids.tolist(), priors)
        took.append(time.perf_counter() - begun)
    return median(took)


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Each row at length one."""
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _one(connection: psycopg.Connection, query: str, *values: object) -> tuple:
    row = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    if row is None:
        raise LookupError(query)
    return row
