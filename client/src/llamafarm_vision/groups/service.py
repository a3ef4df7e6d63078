"""What the service offers and who may use it: strategies, hardware, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from llamafarm_vision.flows import fetch, list_rows, send
from llamafarm_vision.replies.models import Access, Key, NewKey, Storage
from llamafarm_vision.replies.strategies import Hardware, Recommendation, Strategy
from llamafarm_vision.steps import Call, Flow, ItemFlow, drop_none, quote_segment
from llamafarm_vision.verbs import Carrier, Group, Listing, Verb


def list_strategies() -> ItemFlow[Strategy]:
    """Every strategy, by name."""
    return list_rows("/v1/strategies", Strategy.model_validate)


def get_strategy(name: str) -> Flow[Strategy]:
    """One strategy, by its name or an alias."""
    return fetch(Call("GET", f"/v1/strategies/{quote_segment(name)}", is_repeatable=True), Strategy)


def recommend_strategies(
    *,
    learning_type: str | None = None,
    dataset_size: int | None = None,
    task: str | None = None,
    hardware: str | Mapping[str, Any] | None = None,
) -> Flow[Recommendation]:
    """Which strategies fit, best first, and why the others do not.

    Args:
        learning_type: `one_shot`, `few_shot` or `many_shot`; any if empty.
        dataset_size: Examples, all labels together.
        task: `classification`, `vqa` or `caption`; any if empty.
        hardware: A machine by its name, or in numbers (`{"gpu_memory_gb": 24, "cpu_memory_gb": 64}`); the service's
            own if empty.
    """
    body = drop_none(learning_type=learning_type, dataset_size=dataset_size, task=task, hardware=hardware)
    return fetch(Call("POST", "/v1/strategies/recommend", json=body, is_repeatable=True), Recommendation)


def get_hardware() -> Flow[Hardware]:
    """What the service's machine has, and which strategies it is enough for."""
    return fetch(Call("GET", "/v1/hardware", is_repeatable=True), Hardware)


def create_key(
    name: str,
    *,
    scopes: Sequence[str] | None = None,
    workspace: str | None = None,
    expires_in_days: int | None = None,
    expires_at: datetime | None = None,
) -> Flow[NewKey]:
    """Make an API key; its text, `key`, is shown this once.

    Args:
        scopes: Of `recognise`, `learn`, `train`, `metrics` and `admin`; the first two if empty.
        workspace: The workspace it belongs to, made if new; the caller's if empty.
    """
    body = drop_none(
        name=name,
        scopes=None if scopes is None else list(scopes),
        workspace=workspace,
        expires_in_days=expires_in_days,
        expires_at=None if expires_at is None else expires_at.isoformat(),
    )
    return fetch(Call("POST", "/v1/keys", json=body), NewKey)


def list_keys() -> ItemFlow[Key]:
    """The keys that still work or have expired, oldest first."""
    return list_rows("/v1/keys", Key.model_validate)


def get_access() -> Flow[Access]:
    """Who is calling and what they may do, whatever their key allows."""
    return fetch(Call("GET", "/v1/access", is_repeatable=True), Access)


def get_storage() -> Flow[Storage]:
    """How many bytes the workspace stores, and how many it may."""
    return fetch(Call("GET", "/v1/storage", is_repeatable=True), Storage)


def revoke_key(key: str | Key) -> Flow[None]:
    """End a key, by its id; every process refuses it within a second."""
    yield from send(Call("DELETE", f"/v1/keys/{quote_segment(key.id if isinstance(key, Key) else key)}"))


class Strategies(Group[Carrier]):
    """Ways to learn."""

    list = Listing(list_strategies)
    get = Verb(get_strategy)
    recommend = Verb(recommend_strategies)


class Keys(Group[Carrier]):
    """API keys; but for `access`, for those with the scope `admin`."""

    create = Verb(create_key)
    list = Listing(list_keys)
    revoke = Verb(revoke_key)
    access = Verb(get_access)
