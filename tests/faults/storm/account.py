"""The count after a storm: what clients were told against what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import httpx

from tests.cluster import FINISHED, Cluster, until
from tests.faults.storm.work import DATASET_IMAGES, EXAMPLES, Ledger

CHARGED = {"attempts_exhausted", "process_died", "rank_lost"}
"""What a job may fail of here: processes that were killed more often than it may be tried."""


def check(cluster: Cluster, ledger: Ledger) -> list[str]:
    """What a client was told and does not find, finds twice, or waits for in vain."""
    wrong: list[str] = []
    with cluster.api.client() as client:
        wrong += _check_examples(client, ledger)
        for job, kind in ledger.jobs.items():
            wrong += [f"{kind} {job}: {fault}" for fault in _check_job(cluster, client, job)]
    known = set(ledger.jobs)
    for row in cluster.rows("SELECT id, kind, state FROM jobs"):
        if row["state"] not in FINISHED:
            wrong.append(f"{row['kind']} {row['id']} is {row['state']}")
        known.discard(str(row["id"]))
    wrong += [f"job {job} is gone" for job in known]
    for dataset in cluster.rows("SELECT id, state FROM datasets WHERE state = 'preparing'"):
        wrong.append(f"dataset {dataset['id']} is still being prepared")
    with suppress(AssertionError):  # one whose job has just ended is about to leave
        until(lambda: not any(worker.children() for worker in cluster.workers), 60)
    wrong += [
        f"a child outlives its job: {child}" for worker in cluster.workers for child in worker.children()
    ]
    return wrong


def _check_examples(client: httpx.Client, ledger: Ledger) -> list[str]:
    rows: dict[str, str] = {}
    query: dict[str, str] = {}
    while True:
        page = client.get(EXAMPLES, params=query).raise_for_status().json()
        rows |= {row["id"]: row["label"] for row in page["data"]}
        if not page["next"]:
            break
        query = {"cursor": page["next"]}
    wrong = [f"example {example} is lost" for example in ledger.taught if example not in rows]
    wrong += [f"example {example} is back" for example in ledger.forgotten if example in rows]
    stored = Counter(rows.values())
    wrong += [
        f"'{label}' is there {count} times" for label, count in stored.items() if count > ledger.sent[label]
    ]
    for example in rows:
        if not client.get(f"{EXAMPLES}/{example}/image").is_success:
            wrong.append(f"example {example} has no image")
    return wrong


def _check_job(cluster: Cluster, client: httpx.Client, job: str) -> Iterator[str]:
    found = cluster.rows("SELECT * FROM jobs WHERE id = %s", job)
    if not found:
        return
    (row,) = found
    if row["state"] == "failed" and row["error"]["code"] not in CHARGED:
        yield f"failed: {row['error']}"
    if row["state"] != "succeeded":
        return
    events = cluster.rows(
        "SELECT data->>'state' AS state FROM job_events WHERE job_id = %s AND kind = 'state'", job
    )
    ends = [event["state"] for event in events if event["state"] in FINISHED]
    if ends != ["succeeded"]:
        yield f"ended {len(ends)} times: {ends}"
    path = f"/v1/jobs/{job}/artifacts"
    if row["kind"] == "export":  # a later export of the same model takes the place of an earlier one's files
        path = f"/v1/models/{row['spec']['model']}/artifacts"
    files = client.get(path).raise_for_status().json()["data"]
    if row["kind"] == "export":
        files = [file for file in files if file["name"].startswith("exports/safetensors/")]
    if row["kind"] in {"train", "export", "evaluate"} and not files:
        yield "left no file behind"
    for file in files:
        if not client.get(file["url"]).is_success:
            yield f"its file {file['name']} cannot be read"
    if row["kind"] == "train":
        models = cluster.rows("SELECT id FROM trained_models WHERE job_id = %s", job)
        if [model["id"] for model in models] != [row["model"]]:
            yield f"its models are {models}"
    if row["kind"] == "prepare":
        dataset = (row["result"] or {}).get("dataset")
        manifest = client.get(f"/v1/datasets/{dataset}/manifest")
        if not manifest.is_success or len(manifest.text.splitlines()) != DATASET_IMAGES:
            yield f"its dataset holds {len(manifest.text.splitlines())} of {DATASET_IMAGES} examples"
