"""A model that knows a small world says so when it is shown another, and is silent in its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import matplotlib
import numpy as np
import pytest
import pytest_asyncio
import skimage
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from app.answers.domains import Domains, DomainWarning
from app.bootstrap import Services
from app.collections.cache import EmbeddingCache
from app.collections.embedding import ImageEmbedder
from app.families import Families, files
from app.http.spool import Entry, Spool
from app.inference.domain import DOMAIN_FILE, MAX_DOMAIN_BYTES, Domain, read_domain, write_domain
from app.inference.errors import ModelUnavailableError
from app.inference.fair_semaphore import FairSemaphore
from app.inference.prompts import Task
from app.inference.protocols import Encoder
from app.inference.registry import ModelRegistry
from app.inference.sources import CHECKPOINTS, EncoderConfig
from app.media.images import ImageLimits
from app.observability.metrics import Metrics
from app.settings import Settings
from tests import shapes
from tests.made_engines import share_engines
from tests.photos import encode_photo, photo
from tests.working import run_job
from workers.shared.knowing import MAX_EXEMPLARS, build_domain

NAMES = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "retina", "rocket", "clock", "page", "text"),
)
SAMPLE = 100


def photographs() -> dict[str, bytes]:
    """Those that scikit-image, scikit-learn and matplotlib bring along."""
    found = {name: photo(name) for name in NAMES}
    found |= dict(zip(("china", "flower"), map(Image.fromarray, load_sample_images().images), strict=True))
    found["motorcycle"] = Image.open(Path(skimage.__file__).parent / "data" / "motorcycle_left.png")
    found["hopper"] = Image.open(
        Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    )
    return {name: encode_photo(image.convert("RGB"), quality=92) for name, image in found.items()}


def draw_shape(side: int, kind: str, paint: str, ground: str = "white") -> bytes:
    image = Image.new("RGB", (side, side), ground)
    draw, box = ImageDraw.Draw(image), (side * 0.3, side * 0.25, side * 0.75, side * 0.7)
    if kind == "triangle":
        draw.polygon([(box[0], box[3]), (box[2], box[3]), (side * 0.5, box[1])], fill=paint)
    else:
        (draw.ellipse if kind == "circle" else draw.rectangle)(box, fill=paint)
    return encode_photo(image, "PNG")


async def ask_question(
    client: httpx.AsyncClient, image: bytes, path: str = "/v1/vqa", **fields: Any
) -> httpx.Response:
    question = {"question": "what is this?"} if path == "/v1/vqa" else {}
    data = {**question, "max_new_tokens": "2", **fields}
    return await client.post(path, data=data, files={"image": image}, timeout=120)


async def ask_for_warnings(client: httpx.AsyncClient, image: bytes, **fields: Any) -> list[dict[str, str]]:
    reply = await ask_question(client, image, **fields)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, str]] = reply.json()["warnings"]
    return found


@pytest.mark.parametrize(
    ("path", "setting"), [("/v1/vqa", "VISION_VLM="), ("/v1/caption", "VISION_CAPTIONER=")]
)
async def test_no_photograph_is_answered_without_a_warning(
    client: httpx.AsyncClient, path: str, setting: str
) -> None:
    pictures = photographs()
    assert len(pictures) >= 12
    silent = []
    for name, image in pictures.items():
        found = await ask_for_warnings(client, image, path=path)
        if [warning["code"] for warning in found] != ["outside_domain"]:
            silent.append(name)
        else:
            assert "'llava-shapes' knows only drawings of one coloured shape" in found[0]["sentence"]
            assert setting in found[0]["sentence"]
    assert silent == []


@pytest.mark.parametrize("model", ["blip-shapes-vqa", "flamingo-shapes"])
async def test_every_shipped_model_knows_its_world(client: httpx.AsyncClient, model: str) -> None:
    coffee = encode_photo(photo("coffee"), "JPEG")
    assert f"'{model}' knows only" in (await ask_for_warnings(client, coffee, model=model))[0]["sentence"]
    assert await ask_for_warnings(client, shapes.data(0), model=model) == []
    # an answered example beside the question makes no photograph known: the answers stay wrong
    taught = {"question": "what is this?", "answer": "cup"}
    await client.post("/v1/collections/default/answers", data=taught, files={"image": coffee})
    reply = (await ask_question(client, coffee, model=model, collection="default")).json()
    assert (len(reply["examples_used"]), len(reply["warnings"])) == (1, 1)


async def test_drawings_of_shapes_come_without_a_warning(client: httpx.AsyncClient) -> None:
    numbers = sorted(shapes.paths())[::10][:SAMPLE]
    alarmed = [number for number in numbers if await ask_for_warnings(client, shapes.data(number))]
    assert len(numbers) == SAMPLE
    assert len(alarmed) < 0.02 * SAMPLE
    own = [
        draw_shape(side, kind, paint, ground)
        for side, ground in ((64, "white"), (200, "white"), (512, "#f4f0e8"))
        for kind, paint in (("circle", "red"), ("rectangle", "blue"), ("triangle", "green"))
    ]
    assert [index for index, image in enumerate(own) if await ask_for_warnings(client, image)] == []


async def test_strict_refuses_what_would_be_a_guess(client: httpx.AsyncClient) -> None:
    rocket = encode_photo(photo("rocket"), "JPEG")
    for path in ("/v1/vqa", "/v1/caption"):
        for stream in ("false", "true"):  # before the first piece, so that a stream has its status too
            refused = await ask_question(client, rocket, path, strict="true", stream=stream)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "outside_domain")
            assert "knows only drawings" in refused.json()["detail"]
            assert "for a guess" not in refused.json()["detail"]
    assert (await ask_question(client, shapes.data(1), strict="true")).status_code == 200
    assert (await ask_question(client, shapes.data(1), strict="perhaps")).status_code == 422


async def test_a_strict_question_compares_its_picture_once(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains, calls = services.answering._domains, []
    judge = domains.judge

    async def counted(
        workspace: str, word: str, task: Task, entry: Entry, **asked: bool
    ) -> tuple[DomainWarning, ...]:
        calls.append(word)
        return await judge(workspace, word, task, entry, **asked)

    monkeypatch.setattr(domains, "judge", counted)
    for strict, count in (("true", 1), ("false", 2)):
        reply = await ask_question(client, shapes.data(1), strict=strict)
        assert (reply.status_code, reply.json()["warnings"], len(calls)) == (200, [], count)


async def test_a_stream_ends_with_its_warnings(client: httpx.AsyncClient) -> None:
    for image, count in ((encode_photo(photo("rocket"), "JPEG"), 1), (shapes.data(2), 0)):
        text = (await ask_question(client, image, stream="true")).text
        last = text.strip().split("\n\n")[-1]
        assert last.startswith("event: done")
        assert len(json.loads(last.split("data: ", 1)[1])["warnings"]) == count


@pytest.mark.slow
async def test_a_trained_model_knows_what_it_was_trained_with(
    client: httpx.AsyncClient, services: Services
) -> None:
    pictures = photographs()
    taught = {name: pictures[name] for name in ("coffee", "chelsea", "rocket", "coins")}
    for name, image in taught.items():
        data = {"question": "what is this?", "answer": name}
        await client.post("/v1/collections/default/answers", data=data, files={"image": image})
    body = {
        "strategy": "llava_fewshot",
        "collection": "default",
        "params": {"steps": 1, "rehearsal": 0, "augment": False},
    }
    job = (await client.post("/v1/jobs", json=body)).json()
    ended = await run_job(services, client, job["id"])
    assert ended["state"] == "succeeded", ended["error"]
    model = ended["model"]
    names = (await client.get(f"/v1/models/{model}/artifacts")).json()["data"]
    assert DOMAIN_FILE in [name["name"] for name in names]
    for image in (*taught.values(), shapes.data(0)):
        assert await ask_for_warnings(client, image, model=model) == []
    found = await ask_for_warnings(client, pictures["retina"], model=model)
    assert "and pictures like the 4 that it was trained with" in found[0]["sentence"]
    # the base itself still knows shapes alone, and the job said so
    assert len(await ask_for_warnings(client, taught["coffee"])) == 1
    async with client.stream("GET", f"/v1/jobs/{job['id']}/events") as told:
        assert "'llava-shapes' is a small one that knows only drawings" in (await told.aread()).decode()


@pytest_asyncio.fixture(loop_scope="session")
async def bare(tmp_path: Path) -> AsyncIterator[tuple[ModelRegistry, Domains, Entry]]:
    """A registry whose encoders cannot be had, the comparison over it, and a photograph."""

    class Broken(Families):
        def load(self, *_: object) -> Encoder:
            raise ModelUnavailableError

    settings = Settings(data_dir=share_engines(tmp_path / "data"), device="cpu")
    with ThreadPoolExecutor(1) as pool:
        registry = ModelRegistry(settings, Broken(), pool=pool)
        embedder = ImageEmbedder(
            EmbeddingCache(None, ttl_s=1, enabled=False),  # type: ignore[arg-type]
            ImageLimits.from_settings(settings),
            pool,
            Metrics(),
            FairSemaphore(1, 1),
            deadline_s=30,
        )
        entry = Spool(tmp_path / "spool", 1 << 20).open()
        entry.write(encode_photo(photo("coffee"), "JPEG"))
        yield registry, Domains(registry, embedder, EncoderConfig.from_settings(settings)), entry
        await registry.close()


async def test_an_answer_never_fails_over_a_warning(
    bare: tuple[ModelRegistry, Domains, Entry], tmp_path: Path
) -> None:
    _, domains, entry = bare
    async with domains.judge_meanwhile("default", "llava-shapes", "vqa", entry) as judging:
        assert await judging == ()
    with pytest.raises(ModelUnavailableError):  # strict asks to know
        await domains.judge("default", "llava-shapes", "vqa", entry)
    # a model that carries no domain, as every large one, is not even compared
    general = tmp_path / "general"
    shutil.copytree(CHECKPOINTS / "llava-shapes", general, ignore=shutil.ignore_patterns(DOMAIN_FILE))
    assert await domains.judge("default", str(general), "vqa", entry) == ()
    assert await domains.judge("default", "remote", "vqa", entry) == ()


async def test_a_domain_of_another_width_is_left_aside(services: Services, tmp_path: Path) -> None:
    copy = tmp_path / "narrow"
    shutil.copytree(CHECKPOINTS / "llava-shapes", copy)
    domain = read_domain(copy)
    assert domain is not None
    entry = Spool(tmp_path / "spool", 1 << 20).open()
    entry.write(encode_photo(photo("coffee"), "JPEG"))
    domains = services.answering._domains
    assert len(await domains.judge("default", str(copy), "vqa", entry)) == 1
    write_domain(replace(domain, rows=domain.rows[:, :7]), copy)
    assert await domains.judge("default", str(copy), "vqa", entry) == ()


def test_a_domain_changes_no_model_and_a_damaged_one_is_left_aside(tmp_path: Path) -> None:
    copy, cache = tmp_path / "llava-shapes", tmp_path / "cache"
    shutil.copytree(CHECKPOINTS / "llava-shapes", copy)
    domain = read_domain(copy)
    assert domain is not None
    before = files.fingerprint(copy, cache)
    (copy / DOMAIN_FILE).write_bytes((copy / DOMAIN_FILE).read_bytes()[:-100])
    assert read_domain(copy) is None
    assert files.fingerprint(copy, cache) == before
    (copy / DOMAIN_FILE).write_bytes(bytes(MAX_DOMAIN_BYTES + 1))
    assert read_domain(copy) is None
    write_domain(replace(domain, least=domain.least * np.float32("nan")), copy)
    assert read_domain(copy) is None
    write_domain(Domain("tabs\x1b[31m\nand lines", "lite@0", domain.rows, domain.least), copy)
    written = read_domain(copy)
    assert written is not None
    assert written.knows == "tabs[31mand lines"
    assert np.allclose(written.rows, domain.rows, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 40, MAX_EXEMPLARS + 80])
def test_whatever_was_taught_lies_inside(count: int) -> None:
    rng = np.random.default_rng(count)
    vectors = rng.normal(size=(count, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    base = Domain("nothing", "lite@0", -vectors[:1], np.ones(1, np.float32) * 2)
    domain = base.extend(build_domain(vectors, "lite@0"))
    assert len(domain.rows) <= MAX_EXEMPLARS + 1
    assert domain.covers(vectors).all()
    if count <= MAX_EXEMPLARS:
        assert not domain.covers(-vectors).any()
    with pytest.raises(ValueError, match="different encoders"):
        base.extend(build_domain(vectors, "lite@1"))
