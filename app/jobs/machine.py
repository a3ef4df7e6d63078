"""The job's state machine: what may happen to a job, and the one SQL statement that lets it happen.

The service runs these statements asynchronously, the workers synchronously; nobody else writes to `jobs`.

    state      event                          becomes     who
    -          submit                         queued      service
    queued     claim                          running     a worker; fence + 1, attempt + 1
    running    claim, its lease lapsed        running     another worker; fence + 1, attempt + 1
    running    renew, report, checkpoint      running     the owner
    running    succeed                        succeeded   the owner
    running    fail                           failed      the owner: the work itself failed
    running    crash                          queued      the owner: the process died; the attempt stays charged
    running    release                        queued      the owner: a drain; the attempt is given back
    running    postpone                       queued      the owner: no room; the attempt is given back, and the next
                                                          one waits
    running    stop, cancel asked             cancelled   the owner
    queued     cancel                         cancelled   service
    running    cancel                         running     service; the owner sees the column and stops
    running    sweep, lapsed, cancel asked    cancelled   the sweeper
    open       sweep, no attempt left         failed      the sweeper
    failed     retry                          queued      service; attempts start again, the checkpoint stays
    cancelled  retry                          queued      service; likewise

The owner is the worker that holds the newest fence and a lease that has not lapsed: every statement of an owner says
so, and when it touches no row, another worker owns the job. "Lapsed" is the database's clock, never a
worker's.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import TextClause, text

_MINE: Final = "id = :id AND fence = :fence AND state = 'running' AND lease > now()"
_LAPSED: Final = "state = 'running' AND lease <= now()"
_DUE: Final = "(not_before IS NULL OR not_before <= now())"
_MAX_WAIT_SECONDS: Final = 600

SUBMIT: Final = text(
    "INSERT INTO jobs (id, workspace, kind, strategy, spec, queue, idempotency_key, body_digest, max_attempts) "
    "VALUES (:id, :workspace, :kind, :strategy, CAST(:spec AS jsonb), :queue, :idempotency_key, :body_digest, "
    ":max_attempts) ON CONFLICT (workspace, idempotency_key) DO NOTHING RETURNING id"
)
"""No row: a job of that key exists already."""

PUBLISHED: Final = text("UPDATE jobs SET published_at = now() WHERE id = :id AND state = 'queued'")

CLAIM: Final = text(
    "UPDATE jobs SET state = 'running', fence = fence + 1, attempt = attempt + 1, worker = :worker, "
    "lease = now() + make_interval(secs => :lease_s), started_at = COALESCE(started_at, now()), "
    "phase = NULL, error = NULL, not_before = NULL "
    f"WHERE id = :id AND NOT cancel AND attempt < max_attempts AND {_DUE} "
    f"AND (state = 'queued' OR ({_LAPSED})) "
    "RETURNING fence, attempt, max_attempts, workspace, kind, strategy, spec, checkpoint"
)
"""No row: it is done, cancelled, put off, out of attempts or owned by another worker."""

RENEW: Final = text(
    f"UPDATE jobs SET lease = now() + make_interval(secs => :lease_s) WHERE {_MINE} RETURNING cancel"
)

LOOK: Final = text(f"SELECT cancel FROM jobs WHERE {_MINE}")
"""Whether cancelling was asked for; no row: not the owner any more."""

HOLD: Final = text(f"SELECT cancel FROM jobs WHERE {_MINE} FOR NO KEY UPDATE")
"""The same for who writes beside the row: until the transaction ends, nobody else touches the job."""

REPORT: Final = text(
    "UPDATE jobs SET phase = COALESCE(:phase, phase), step = COALESCE(:step, step), "
    "of = COALESCE(:of, of), eta_s = :eta_s, metrics = metrics || CAST(:metrics AS jsonb) "
    f"WHERE {_MINE} RETURNING phase, step, of"
)

CHECKPOINT: Final = text(
    f"UPDATE jobs SET checkpoint = CAST(:checkpoint AS jsonb) WHERE {_MINE} RETURNING id"
)

SUCCEED: Final = text(
    "UPDATE jobs SET state = 'succeeded', finished_at = now(), lease = NULL, eta_s = 0, checkpoint = NULL, "
    "metrics = metrics || CAST(:metrics AS jsonb), result = CAST(:result AS jsonb), model = :model "
    f"WHERE {_MINE} RETURNING id"
)
"""In one transaction with the rows of the model and the artefacts: they exist together or not at all."""

FAIL: Final = text(
    "UPDATE jobs SET state = 'failed', finished_at = now(), lease = NULL, eta_s = NULL, "
    f"error = CAST(:error AS jsonb) WHERE {_MINE} RETURNING id"
)

CRASH: Final = text(
    "UPDATE jobs SET state = 'queued', lease = NULL, published_at = now(), eta_s = NULL, "
    f"error = CAST(:error AS jsonb) WHERE {_MINE} RETURNING id"
)
"""Who crashed tells other workers at once, or leaves it to a later sweep."""

RELEASE: Final = text(
    "UPDATE jobs SET state = 'queued', lease = NULL, published_at = NULL, eta_s = NULL, "
    f"attempt = attempt - 1 WHERE {_MINE} RETURNING id"
)

POSTPONE: Final = text(
    "UPDATE jobs SET state = 'queued', lease = NULL, published_at = NULL, eta_s = NULL, "
    "attempt = attempt - CASE WHEN waits < :waits THEN 1 ELSE 0 END, waits = waits + 1, "
    f"not_before = now() + make_interval(secs => LEAST(:wait_s * power(2, LEAST(waits, 20)), {_MAX_WAIT_SECONDS})), "
    f"error = CAST(:error AS jsonb) WHERE {_MINE} RETURNING not_before"
)
"""Each time it waits twice as long as the time before; after `waits` times the attempt stays charged."""

STOP: Final = text(
    "UPDATE jobs SET state = 'cancelled', finished_at = now(), lease = NULL, eta_s = NULL "
    f"WHERE {_MINE} AND cancel RETURNING id"
)

CANCEL: Final = text(
    "UPDATE jobs SET cancel = true, "
    "state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END, "
    "finished_at = CASE WHEN state = 'queued' THEN now() END "
    "WHERE id = :id AND workspace = :workspace AND state IN ('queued', 'running') RETURNING state"
)

RETRY: Final = text(
    "UPDATE jobs SET state = 'queued', cancel = false, attempt = 0, error = NULL, finished_at = NULL, "
    "published_at = NULL, lease = NULL, waits = 0, not_before = NULL "
    "WHERE id = :id AND workspace = :workspace AND state IN ('failed', 'cancelled') RETURNING queue"
)

SWEEP_CANCELLED: Final = text(
    "UPDATE jobs SET state = 'cancelled', finished_at = now(), lease = NULL, eta_s = NULL "
    f"WHERE cancel AND (state = 'queued' OR ({_LAPSED})) RETURNING id"
)

SWEEP_EXHAUSTED: Final = text(
    "UPDATE jobs SET state = 'failed', finished_at = now(), lease = NULL, eta_s = NULL, "
    "error = jsonb_build_object('code', 'attempts_exhausted', 'detail', "
    "'The job was given up after ' || attempt || ' attempts. ' || "
    "COALESCE('The last one said: ' || (error->>'detail'), 'Its worker was lost each time.')) "
    f"WHERE NOT cancel AND attempt >= max_attempts AND (state = 'queued' OR ({_LAPSED})) "
    "RETURNING id, error"
)

SWEEP_STALE: Final = text(
    "UPDATE jobs SET published_at = now() WHERE id IN (SELECT id FROM jobs "
    f"WHERE NOT cancel AND attempt < max_attempts AND {_DUE} AND (state = 'queued' OR ({_LAPSED})) "
    "AND queue = ANY(:queues) AND (published_at IS NULL OR published_at <= now() - make_interval(secs => :stale_s)) "
    "ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING id, queue"
)
"""Jobs that a worker should hear of (again)."""

UNSERVED: Final = text(
    "SELECT id FROM jobs WHERE state = 'queued' AND NOT cancel AND queue = :queue AND (SELECT "
    "at <= now() - make_interval(secs => :stale_s) AND data->>'line' IS DISTINCT FROM CAST(:line AS text) "
    "FROM job_events WHERE job_id = jobs.id ORDER BY job_events.id DESC LIMIT 1) "
    "ORDER BY created_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED"
)
"""Jobs without an event for so long whose last event is not this line."""

FORGET_CHECKPOINTS: Final = text(
    "UPDATE jobs SET checkpoint = NULL WHERE checkpoint IS NOT NULL AND state IN ('failed', 'cancelled') "
    "AND finished_at <= now() - make_interval(secs => :keep_s)"
)
"""A retry after that starts from the beginning."""

EVENT: Final = text("INSERT INTO job_events (job_id, kind, data) VALUES (:id, :kind, CAST(:data AS jsonb))")
"""Always after the statement above that touched the job's row in the same transaction: the row's lock is what
makes ids grow in the order of the events."""

PROGRESS: Final = text(
    "WITH superseded AS (DELETE FROM job_events WHERE id = :before) "
    "INSERT INTO job_events (job_id, kind, data) VALUES (:id, 'progress', CAST(:data AS jsonb)) RETURNING id"
)
"""Likewise; replaces the last progress of an attempt, so that a long job's do not pile up."""

FORGET_EVENTS: Final = text(
    "DELETE FROM job_events WHERE id IN (SELECT e.id FROM job_events e JOIN jobs j ON j.id = e.job_id "
    "WHERE j.finished_at <= now() - make_interval(secs => :keep_s) AND e.kind <> 'state' LIMIT :limit) "
    "RETURNING id"
)
"""The events of an ended job, except its states."""

TABLE: Final[dict[tuple[str, str], tuple[str, TextClause]]] = {
    ("queued", "claim"): ("running", CLAIM),
    ("running", "claim"): ("running", CLAIM),
    ("running", "renew"): ("running", RENEW),
    ("running", "report"): ("running", REPORT),
    ("running", "checkpoint"): ("running", CHECKPOINT),
    ("running", "succeed"): ("succeeded", SUCCEED),
    ("running", "fail"): ("failed", FAIL),
    ("running", "crash"): ("queued", CRASH),
    ("running", "release"): ("queued", RELEASE),
    ("running", "postpone"): ("queued", POSTPONE),
    ("running", "stop"): ("cancelled", STOP),
    ("queued", "cancel"): ("cancelled", CANCEL),
    ("running", "cancel"): ("running", CANCEL),
    ("queued", "sweep cancelled"): ("cancelled", SWEEP_CANCELLED),
    ("running", "sweep cancelled"): ("cancelled", SWEEP_CANCELLED),
    ("queued", "sweep exhausted"): ("failed", SWEEP_EXHAUSTED),
    ("running", "sweep exhausted"): ("failed", SWEEP_EXHAUSTED),
    ("failed", "retry"): ("queued", RETRY),
    ("cancelled", "retry"): ("queued", RETRY),
}
"""(state, event) -> (next state, statement). What is not here does not happen: its statement touches no row."""
