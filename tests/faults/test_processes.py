"""A service of front ends, an engine and a parent: one service to its clients, whatever of it is killed."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests import shapes
from tests.cluster import until
from tests.faults.test_children import beside, left
from tests.live import Live, run, serving
from tests.photos import TAUGHT, encode_photo, photo
from tests.split import MAX_WAIT_SECONDS, SPLIT, Load, processes, storm, teach

FRONT_END_MB = 150
PATH = "/v1/collections/default/examples"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: with a longer one the sockets, and what tells the processes apart, lie elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Two front ends and one engine; its worker waits until a job is asked for."""
    folder = tmp_path_factory.mktemp("split")
    jobs = {"VISION_WORKER": "true", "VISION_WORKER_AT_ONCE": "false", "VISION_KEEP_ALIVE_S": "60"}
    with serving(folder / "data", **SPLIT, **jobs) as live:
        # it is ready when one front end answers and the engine has its model: the other may come later
        until(lambda: len(processes(live)) == 4 and both_take_connections(live), 90)
        teach(live)
        yield live


def port_of(client: httpx.Client) -> int:
    """The local port of a client's only connection; asking for `/healthz` on it."""
    with client.stream("GET", "/healthz") as reply:
        reply.raise_for_status().read()
        return int(reply.extensions["network_stream"].get_extra_info("client_addr")[1])


def connected(live: Live, stack: ExitStack, count: int = 30) -> dict[str, list[httpx.Client]]:
    """Clients whose connections stay open, by the front end that holds them; at least one at each."""
    found: dict[str, list[httpx.Client]] = {}
    kept = httpx.Limits(keepalive_expiry=60)
    while len(found) < 2:
        assert count > 0, "one front end takes no connections"
        count -= 1
        client = stack.enter_context(httpx.Client(base_url=live.url, timeout=MAX_WAIT_SECONDS, limits=kept))
        port = port_of(client)
        for name, process in processes(live, "front-end").items():
            if any(link.raddr and link.raddr.port == port for link in process.net_connections("tcp")):
                found.setdefault(name, []).append(client)
    return found


def both_take_connections(live: Live) -> bool:
    """Whether both front ends do; one that was just started does not listen yet."""
    with ExitStack() as stack, suppress(AssertionError, psutil.NoSuchProcess):
        return bool(connected(live, stack))
    return False


def requests_counted(live: Live, route: str) -> int:
    """How many requests for a route `/metrics` shows."""
    with live.client() as client:
        text = client.get("/metrics").raise_for_status().text
    return int(
        sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("vision_requests_total") and f'route="{route}"' in line
        )
    )


@pytest.mark.slow
def test_front_ends_are_small_and_load_no_deep_learning_library(service: Live) -> None:
    found = processes(service)
    assert set(found) == {"parent", "front-end-0", "front-end-1", "engine-0"}
    for name, process in found.items():
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        if name != "engine-0":
            assert not re.search(r"libtorch|onnxruntime|transformers", maps), name
        if name.startswith("front-end"):
            assert process.memory_full_info().pss < FRONT_END_MB << 20
        assert "://" not in " ".join(process.cmdline())
        assert not {"VISION_DATABASE_URL", "VISION_SECRET"} & process.environ().keys()


@pytest.mark.slow
def test_what_one_front_end_is_taught_the_other_knows_at_once(service: Live) -> None:
    with ExitStack() as stack:
        clients = connected(service, stack)
        (first, *_), (second, *_) = clients.values()
        for number in range(10):
            teacher, pupil = (first, second) if number % 2 else (second, first)
            label, name = f"new {number}", list(TAUGHT.values())[number % 4]
            picture = encode_photo(photo(name).rotate(90 * (1 + number // 4), expand=True), "PNG")
            path = f"/v1/collections/fresh-{number % 2}"
            teacher.post("/v1/collections", json={"name": path.rpartition("/")[2]})
            taught = teacher.post(f"{path}/examples", data={"label": label}, files={"images": picture})
            assert taught.status_code == 201, taught.text
            told = pupil.post(
                "/v1/classify", data={"collection": path.rpartition("/")[2]}, files={"image": picture}
            ).json()
            assert told["label"] == label, told


@pytest.mark.slow
def test_metrics_are_of_the_whole_service(service: Live) -> None:
    before = requests_counted(service, "/v1/models")
    with ExitStack() as stack:
        clients = connected(service, stack)
        for client in [client for held in clients.values() for client in held]:
            assert client.get("/v1/models").is_success
        asked = sum(len(held) for held in clients.values())
        for held in clients.values():  # whichever is asked
            text = held[0].get("/metrics").text
            assert 'vision_model_memory_bytes{model="lite"}' in text
            for name in processes(service):
                assert f'process_resident_memory_bytes{{process="{name}"}}' in text
    # a request is counted after its answer
    until(lambda: requests_counted(service, "/v1/models") == before + asked, 30)
    assert requests_counted(service, "/v1/models") == before + asked


@pytest.mark.slow
def test_questions_stream_and_a_job_starts_the_worker(service: Live) -> None:
    form, files = {"question": "what color is the shape?"}, {"image": shapes.data(0)}
    with service.client() as client:
        whole = client.post("/v1/vqa", data=form, files=files).json()["answer"]
        assert whole == shapes.list_shapes()[0][0]
        with client.stream("POST", "/v1/vqa", data=form | {"stream": "true"}, files=files) as reply:
            lines = [line for line in reply.iter_lines() if line]
        assert json.loads(lines[-1].removeprefix("data: "))["answer"] == whole

        assert beside(service.process.pid) == {}, "no job was asked for yet"
        body = {"strategy": "siamese_oneshot", "base_model": "lite", "params": {"steps": 5}}
        reply = client.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        path = f"/v1/jobs/{reply.json()['id']}"
        ended = until(
            lambda: (job := client.get(path).json())["state"] in ("succeeded", "failed") and job, 90
        )
        assert ended["state"] == "succeeded", ended
        told = client.post(
            "/v1/classify",
            data={"model": ended["model"]},
            files={"image": encode_photo(photo("coffee"))},
        )
        assert told.status_code == 200, told.text


@pytest.mark.slow
def test_a_killed_front_end_costs_only_its_own_connections(service: Live) -> None:
    counted = requests_counted(service, "/healthz")
    with ExitStack() as stack:
        clients = connected(service, stack)
        ports = {client: port_of(client) for held in clients.values() for client in held}
        victim = processes(service, "front-end")["front-end-0"]
        victim.kill()
        victim.wait(60)
        for name, held in clients.items():
            for client in held:
                assert (port_of(client) == ports[client]) == (name == "front-end-1"), "the connection went on"
        for _ in range(20):  # new connections go to whoever is there
            assert httpx.get(f"{service.url}/healthz", timeout=60).is_success
    again = until(lambda: processes(service, "front-end").get("front-end-0"), 90)
    assert again.pid != victim.pid
    until(lambda: both_take_connections(service), 60)
    assert requests_counted(service, "/healthz") > counted, "no counter falls"


@pytest.mark.slow
def test_a_killed_engine_answers_busy_until_it_is_back(service: Live) -> None:
    with Load(service) as load:
        load.until_answered(20)
        for _ in range(2):
            before = until(lambda: processes(service, "engine").get("engine-0"), 90)
            before.kill()
            before.wait(60)
            load.until_answered(20)
    assert not load.wrong, load.wrong[:5]
    assert set(load.answers) <= {"200", "503"}, load.answers
    with service.client() as client:
        until(lambda: client.get("/readyz").is_success, 30)


@pytest.mark.slow
def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    with serving(tmp_path / "data", **SPLIT, VISION_WORKER="true") as live:
        until(lambda: len(processes(live)) == 4 and len(beside(live.process.pid)) == 2, 90)
        found = processes(live) | beside(live.process.pid)
        assert len(found) == 6
        live.process.kill()
        live.process.wait(60)
        until(lambda: not left(found), 60, "some outlived their parent")
        folders = set(live.data_dir.glob("run/*"))
        assert folders
    with serving(live.data_dir, **SPLIT) as again:  # the next start removes the folder that was left
        assert not folders & set(again.data_dir.glob("run/*"))
        assert again.stop() == 0
        assert not list(again.data_dir.glob("run/*"))


def count_lines(live: Live, *words: str) -> int:
    """How many lines of the service's log have all these words."""
    return sum(all(word in line for word in words) for line in live.log.read_text().splitlines())


@pytest.mark.parametrize("placement", ["replicate", "spread"])
@pytest.mark.slow
def test_two_engines_share_the_work(tmp_path: Path, placement: str) -> None:
    more = {"VISION_ENGINE_DEVICES": "cpu,cpu", "VISION_ENGINE_PLACEMENT": placement}
    loaded = 2 if placement == "replicate" else 1
    with serving(tmp_path / "data", **SPLIT, **more) as live:
        # it is ready as soon as one engine is: what the other takes to come up is no share of the work
        until(lambda: len(processes(live, "engine")) == 2, 90)
        until(lambda: count_lines(live, "model loaded", "lite") >= loaded, 90)
        until(lambda: count_lines(live, "connected to the engine") >= 4, 30)
        teach(live)
        before = {name: sum(process.cpu_times()[:2]) for name, process in processes(live, "engine").items()}
        with Load(live) as load:
            load.until_answered(60)
        used = {
            name: sum(process.cpu_times()[:2]) - before[name]
            for name, process in processes(live, "engine").items()
        }
        assert count_lines(live, "model loaded", "lite") == loaded
    assert not load.wrong, load.wrong[:5]
    assert set(load.answers) == {"200"}
    assert len(used) == 2
    share = min(used.values()) / sum(used.values())
    if placement == "replicate":
        assert share > 0.2, used
    else:
        assert share < 0.2, used


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["engine", "front-end"])
def test_a_storm_of_kills(tmp_path: Path, victim: str) -> None:
    seen = storm(tmp_path, victim, seconds=12, every_s=3, clients=6)
    assert not seen["wrong"], seen
    assert seen["kills"]
    allowed = {"200", "503"} if victim == "engine" else {"200", "503", "broken"}
    assert set(seen["answers"]) <= allowed, seen


def test_it_is_one_service_for_settings_that_cannot_be(tmp_path: Path) -> None:
    done = run("serve", "--data-dir", tmp_path, VISION_FRONT_ENDS="0", VISION_ENGINES="2")
    assert done.returncode == 2
    assert "front_ends must be auto or at least 1" in re.sub(r"\s+", " ", done.stderr)


@pytest.mark.slow
def test_an_engine_without_its_device_is_no_start(tmp_path: Path) -> None:
    devices = {
        "VISION_FRONT_ENDS": "1",
        "VISION_ENGINE_DEVICES": "cpu,cuda:77",
        "VISION_ENGINE_PLACEMENT": "replicate",
    }
    done = run("serve", "--port", "0", "--data-dir", tmp_path / "data", **devices)
    assert done.returncode == 1
    said = re.sub(r"\s+", " ", done.stderr)
    assert "engine-1: The device 'cuda:77' was asked for, but this machine has" in said
    assert "the service did not start" in said
