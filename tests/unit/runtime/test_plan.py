"""Into how many processes a service is split, and what each gets of the machine."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.inference.capacity import images_in_flight
from app.inference.device import threads
from app.runtime.plan import Plan, engine_settings, front_end_settings, plan
from app.settings import Settings


@pytest.mark.parametrize(
    ("given", "gpus", "cores", "expected"),
    [
        ({}, 0, 2, Plan(0, ())),
        ({"device": "cpu"}, 4, 16, Plan(0, ())),
        ({"device": "mps"}, 0, 8, Plan(0, ())),
        ({}, 1, 16, Plan(14, ("cuda:0",))),
        ({}, 1, 64, Plan(16, ("cuda:0",))),
        ({}, 1, 2, Plan(1, ("cuda:0",))),
        ({}, 2, 16, Plan(14, ("cuda:0", "cuda:1"))),
        ({"device": "cuda:1"}, 2, 16, Plan(14, ("cuda:1",))),
        ({"engines": 3}, 2, 4, Plan(2, ("cuda:0", "cuda:1", "cuda:0"))),
        ({"front_ends": 0}, 2, 16, Plan(0, ())),
        ({"front_ends": 2}, 0, 2, Plan(2, ("cpu",))),
        ({"engines": 2}, 0, 2, Plan(1, ("cpu", "cpu"))),
        ({"engine_devices": "CPU, cuda:1"}, 2, 8, Plan(6, ("cpu", "cuda:1"))),
    ],
)
def test_what_the_settings_mean_on_a_machine(
    given: dict[str, object], gpus: int, cores: int, expected: Plan
) -> None:
    assert plan(Settings(**{"device": "auto", **given}), gpus=gpus, cores=cores) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"front_ends": 65}, "65 is neither auto nor a number of 0 to 64"),
        ({"front_ends": "many"}, r"front_ends\n.*'many' is neither auto nor a number of 0 to 64"),
        ({"front_ends": 1.5}, r"\nfront_ends\n"),
        ({"engines": 0}, "0 is neither auto nor a number of 1 to 64"),
        ({"engines": 2, "front_ends": 0}, "front_ends must be auto or at least 1"),
        ({"engine_devices": "cuda:0,cpu", "engines": 3}, "2 devices are named for 3 engines"),
        ({"engine_devices": "cuda:x"}, "'cuda:x' is no device"),
        ({"engine_devices": "cpu", "front_ends": 0}, "one process uses VISION_DEVICE"),
        ({"restart_pause_s": 20}, "less than restart_pause_s"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(**given)


def test_what_a_process_has_of_its_own_is_divided() -> None:
    settings = Settings(decode_threads=12, database_pool_size=16, threads=8)
    one = front_end_settings(settings, Plan(4, ("cuda:0",)))
    assert (one.batching.decode_threads, one.server.database_pool_size) == (3, 4)
    many = front_end_settings(settings, Plan(64, ("cuda:0",)))
    assert (many.batching.decode_threads, many.server.database_pool_size) == (1, 2)
    assert (one.batching.images_in_flight, many.batching.images_in_flight) == (128, 8)
    on_cpu = front_end_settings(Settings(cpu_max_batch=8, decode_threads=2), Plan(2, ("cpu", "cpu")))
    assert on_cpu.batching.images_in_flight == 16
    made = Plan(1, ("cpu", "cuda:0", "cpu"))
    assert [engine_settings(settings, made, index).models.threads for index in range(3)] == [4, 8, 4]
    assert [engine_settings(settings, made, index).models.device for index in range(3)] == list(made.devices)
    assert engine_settings(Settings(), Plan(1, ("cpu",)), 0).models.threads == threads()


def test_no_engine_refuses_what_front_ends_let_in() -> None:
    """Theirs to refuse, since they know whose it is. What they let in is the service's, however many there are."""
    for settings in (Settings(), Settings(vlm_max_queue=1, vlm_max_batch=1, max_queue=4)):
        for made in (Plan(1, ("cpu",)), Plan(3, ("cpu",)), Plan(14, ("cuda:0", "cuda:1"))):
            one = front_end_settings(settings, made)
            engine = engine_settings(settings, made, 0)
            assert engine.answers.vlm_max_queue >= 2 * made.front_ends * one.answers.in_flight
            assert engine.batching.max_queue >= 2 * made.front_ends * images_in_flight(one)
            spare = made.front_ends  # rounded up
            assert (
                made.front_ends * one.answers.in_flight
                < len(made.devices) * settings.answers.in_flight + spare
            )
