"""The Python client against a real service: sync and async, every block of its page, and alone in an environment."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from llamafarm_vision import AsyncVision, JobFailedError, NotFoundError, Vision
from llamafarm_vision.replies import answers, jobs, models, recognition, review, strategies
from llamafarm_vision.replies.base import ReplyModel
from tests.live import Live, environment, run, serving

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"
COMPONENTS = {
    "Access": models.Access,
    "Storage": models.Storage,
    "DatasetImageInfo": jobs.DatasetImage,
    "SmallLabel": recognition.SmallLabel,
    "OverlappingLabels": recognition.OverlappingLabels,
    "NearDuplicate": recognition.NearDuplicate,
    "RenamedLabel": recognition.RenamedLabel,
    "ChangedExamples": recognition.ChangedExamples,
    "AddedAnswerExample": answers.AddedAnswerExample,
    "AddedExample": recognition.AddedExample,
    "AnswerExampleInfo": answers.AnswerExample,
    "AnswerReply": answers.Answer,
    "AnswerWarning": answers.AnswerWarning,
    "ArtifactInfo": jobs.Artifact,
    "CaptionReply": answers.Caption,
    "Classification": recognition.Classification,
    "CollectionInfo": recognition.Collection,
    "CollectionHealth": recognition.CollectionHealth,
    "AnswerSet": recognition.AnswerSet,
    "AnswerSetWarning": recognition.AnswerSetWarning,
    "Contender": models.Contender,
    "Cpu": strategies.Cpu,
    "DatasetInfo": jobs.Dataset,
    "Embedding": recognition.Embedding,
    "EmbeddingList": recognition.Embeddings,
    "ExampleInfo": recognition.Example,
    "FieldNote": jobs.FieldNote,
    "Gpu": strategies.Gpu,
    "Hardware": strategies.Hardware,
    "HardwareRequirements": strategies.HardwareRequirements,
    "Hit": recognition.Hit,
    "JobPage": jobs.Job,
    "Key": models.Key,
    "LabelHealth": recognition.LabelHealth,
    "LabelInfo": recognition.Label,
    "LargerCheckpoint": strategies.LargerCheckpoint,
    "ExcludedStrategy": strategies.ExcludedStrategy,
    "Machine": strategies.Machine,
    "MachineFacts": strategies.MachineFacts,
    "Memory": strategies.Memory,
    "MetricSeries": jobs.MetricSeries,
    "Model": models.Model,
    "ModelOptimisation": models.ModelOptimisation,
    "NewKey": models.NewKey,
    "Progress": jobs.Progress,
    "Recommendation": strategies.Recommendation,
    "RecommendedStrategy": strategies.RecommendedStrategy,
    "Samples": strategies.Samples,
    "CurvePoint": review.CurvePoint,
    "ReviewDecisionInfo": review.ReviewDecision,
    "FeedbackInfo": review.Feedback,
    "GuessScore": review.GuessScore,
    "ReviewPictureInfo": review.ReviewPicture,
    "ReviewSpan": review.ReviewSpan,
    "ReviewStats": review.ReviewStats,
    "Score": recognition.Score,
    "SearchResult": recognition.SearchResult,
    "StrategyFit": strategies.StrategyFit,
    "StrategyHardware": strategies.StrategyHardware,
    "StrategyInfo": strategies.Strategy,
    "StrategyModel": strategies.StrategyModel,
    "Suspect": recognition.Suspect,
    "TaskGroup": strategies.TaskGroup,
    "TrainedFacts": models.TrainedFacts,
    "UsedExample": answers.UsedExample,
    "app__answers__schemas__Timing": answers.AnswerTiming,
    "app__answers__schemas__Usage": answers.TokenUsage,
    "app__collections__schemas__Timing": recognition.ClassifyTiming,
    "app__collections__schemas__Usage": recognition.EmbeddingUsage,
    "app__jobs__spec__Comparison": models.Comparison,
    "app__strategies__definition__Comparison": strategies.CheaperWay,
}
"""What the service's OpenAPI document calls a reply, and the client's model of it."""


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A ready service with a worker, on an empty data folder."""
    with serving(tmp_path_factory.mktemp("sdk") / "data", VISION_WORKER="true") as live:
        yield live


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `demo` of small pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    assert run("demo", "demo", cwd=folder).returncode == 0
    return folder / "demo"


def test_every_kind_of_image_is_recognised_alike(working: Live, demo: Path) -> None:
    path = demo / "mug.jpg"
    image = Image.open(path).convert("RGB")
    with path.open("rb") as file, Vision(working.url) as vision:
        exact = [str(path), path, path.read_bytes(), memoryview(path.read_bytes()), file]
        found = [vision.classify(image, labels=["mug", "boat, at sea"]) for image in exact]
        assert len({(result.label, result.scores[0].score) for result in found}) == 1
        assert found[0].label == "mug"
        assert {score.label for score in found[0].scores} == {"mug", "boat, at sea"}
        for pixels in (image, np.asarray(image), np.asarray(image.convert("L"))):
            assert vision.classify(pixels, labels=["mug", "boat, at sea"]).label == "mug"


def test_both_clients_teach_recognise_list_and_forget(working: Live, demo: Path) -> None:
    with Vision(working.url) as vision:
        vision.collections.create("sync")
        vision.learn([demo / "mug.jpg", demo / "inbox" / "mug-1.jpg"], "mug", collection="sync")
        vision.learn(Image.open(demo / "boat.jpg"), "boat", collection="sync")
        images = [demo / "inbox" / f"{name}-2.jpg" for name in ("mug", "boat")] * 9  # more than one request
        labels = [found.label for found in vision.classify_many(images, collection="sync")]
        assert labels == ["mug", "boat"] * 9
        assert vision.search(text="a boat", collection="sync").data[0].label == "boat"
        seen = vision.classify(demo / "inbox" / "mug-2.jpg", collection="sync", neighbours=2)
        assert [near.label for near in seen.neighbours or []] == ["mug", "mug"]
        assert vision.collections.rename_label("boat", "ship", collection="sync").label == "ship"
        (example,) = vision.examples.list(label="ship", collection="sync")
        assert vision.examples.relabel(example.id, "boat", collection="sync").label == "boat"
        (same,) = vision.examples.list(image_sha256=example.image_sha256, collection="sync")
        assert (same.id, same.label) == (example.id, "boat")
        found = vision.collections.health("sync")
        assert {label.label: label.examples for label in found.small_labels} == {"boat": 1, "mug": 2}
        size = Image.open(io.BytesIO(vision.examples.image(example.id, collection="sync"))).size
        assert max(size) > 10
        vision.forget(example.id, collection="sync")
        assert [label.label for label in vision.collections.labels("sync")] == ["mug"]
        vision.collections.delete("sync")
        with pytest.raises(NotFoundError) as caught:
            vision.collections.get("sync")
        assert (caught.value.status, caught.value.code) == (404, "collection_not_found")
        assert caught.value.request_id

    async def teach() -> list[Any]:
        async with AsyncVision(working.url) as client:
            await client.collections.create("async")
            await client.learn([demo / "mug.jpg"], "mug", collection="async")
            await client.learn([demo / "boat.jpg"], "boat", collection="async")
            many = client.classify_many(
                [demo / "inbox" / f"{name}-2.jpg" for name in ("mug", "boat")], collection="async"
            )
            found = [image.label async for image in many]
            examples = [example async for example in client.examples.list(collection="async")]
            with pytest.raises(NotFoundError, match="Nothing was changed"):
                await client.examples.forget_many([examples[0].id, "0" * 32], collection="async")
            ids = [example.id for example in examples]
            changed = await client.examples.relabel_many(ids, "mug", collection="async")
            assert (len(changed.changed), len(changed.unchanged)) == (1, 1)
            gone = await client.examples.forget_many(ids, collection="async")
            assert sorted(gone.removed) == sorted(ids)
            left = [label async for label in client.collections.labels("async")]
            with pytest.raises(NotFoundError, match="lita"):
                await client.classify(demo / "mug.jpg", model="lita")
            return [*found, *left]

    assert asyncio.run(teach()) == ["mug", "boat"]


def test_vectors_are_unit_vectors_of_images_then_texts(working: Live, demo: Path) -> None:
    with Vision(working.url) as vision:
        found = vision.embed(demo / "mug.jpg", ["a mug", "a boat, at sea"])
        assert [row.index for row in found.data] == [0, 1, 2]
        vectors = np.array([row.embedding for row in found.data])
        assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-4)
        alone = np.array(vision.embed(texts="a mug").data[0].embedding)
        assert vectors[1] == pytest.approx(alone, abs=1e-5)


def test_answers_come_piece_by_piece(working: Live, demo: Path) -> None:
    image, question = demo / "questions" / "circle-1.png", "What color is the shape?"
    with Vision(working.url) as vision:
        whole = vision.ask(image, question)
        pieces = list(vision.ask_stream(image, question))
        assert "".join(piece.text for piece in pieces) == whole.answer
        assert pieces[-1].reply is not None
        assert pieces[-1].reply.answer == whole.answer
        caption = vision.caption(image).caption

    async def describe() -> str:
        async with AsyncVision(working.url) as client:
            return "".join([piece.text async for piece in client.caption_stream(image)])

    assert asyncio.run(describe()) == caption


def test_a_folder_is_sent_followed_and_waited_for(working: Live, demo: Path) -> None:
    sent: list[tuple[int, int | None]] = []
    with Vision(working.url) as vision:
        dataset = vision.datasets.upload(demo / "images", progress=lambda now, of: sent.append((now, of)))
        assert sent[-1][0] == sent[-1][1]
        heard: list[str] = []
        job = vision.jobs.wait(dataset.job or "", on_event=lambda event: heard.append(event.name))
        assert job.state == "succeeded"
        assert heard[-1] == "state"
        # of a job that has ended the service keeps the last progress alone
        kept = [event.name for event in vision.jobs.follow(job)]
        assert kept.count("state") == heard.count("state") == 3
        ready = vision.datasets.get(dataset)
        assert ready.summary is not None
        assert ready.summary["examples"] == sum(1 for _ in (demo / "images").rglob("*.*"))
        shown = list(vision.datasets.images(ready, split="test"))
        assert len(shown) == ready.summary["splits"]["test"]
        picture = vision.datasets.image(ready, shown[0].image_sha256, size=16)
        assert max(Image.open(io.BytesIO(picture)).size) == 16
        cancelled = vision.jobs.cancel(
            vision.train("lite_fewshot", dataset=ready.id, params={"steps": 100_000, "patience": 0})
        )
        with pytest.raises(JobFailedError, match="cancelled"):
            vision.jobs.wait(cancelled)

    async def send() -> str:
        async with AsyncVision(working.url) as client:
            again = await client.datasets.upload(demo / "images", name="again")
            return (await client.jobs.wait(again.job or "")).state

    assert asyncio.run(send()) == "succeeded"


def test_replies_have_the_fields_that_the_service_documents(working: Live) -> None:
    schemas = httpx.get(f"{working.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    wrong = {}
    for name, model in COMPONENTS.items():
        documented, typed = set(schemas[name]["properties"]), set(model.model_fields)
        if documented != typed:
            wrong[name] = (sorted(documented - typed), sorted(typed - documented))
    assert wrong == {}
    modules = (answers, jobs, models, recognition, strategies)
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    replies = {kind.__name__ for kind in kinds if issubclass(kind, ReplyModel) and kind is not ReplyModel}
    made_here = {"AnswerPiece", "CaptionPiece", "JobEvent", "CheckedConfiguration"}
    assert replies - {kind.__name__ for kind in COMPONENTS.values()} == made_here


@pytest.mark.slow
def test_every_block_of_the_page_runs(
    working: Live, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "sdk.md").read_text())
    assert len(blocks) > 12
    monkeypatch.chdir(demo.parent)
    names: dict[str, Any] = {}
    try:
        for block in blocks:
            assert len([line for line in block.splitlines() if line]) < 10, block
            exec(compile(block.replace(ADDRESS, working.url), "docs/sdk.md", "exec"), names)  # noqa: S102
    finally:
        names["vision"].close()
    said = capsys.readouterr().out
    assert "my-model" in said
    assert "['mug', 'boat']" in said
    assert "404 model_not_found" in said
    assert list((demo.parent / "exported").iterdir())


@pytest.mark.slow
def test_the_client_works_alone_in_an_environment(working: Live, demo: Path, tmp_path: Path) -> None:
    """Its wheel and what it names, and none of the service's libraries."""
    pip = [sys.executable, "-m", "pip"]
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files", "client"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in listed:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    venv.create(tmp_path / "alone", with_pip=False)
    python = str(tmp_path / "alone" / "bin" / "python")
    constraints = ["-c", str(ROOT / "constraints.txt")]
    subprocess.run(
        [*pip, "--python", python, "install", "--quiet", *constraints, str(source / "client")], check=True
    )
    program = (
        "import importlib.util, sys, llamafarm_vision as v\n"
        "assert importlib.util.find_spec('torch') is None and importlib.util.find_spec('app') is None\n"
        "with v.Vision(sys.argv[1]) as vision:\n"
        "    print(v.__file__, vision.classify(sys.argv[2], labels=['mug', 'boat']).label)\n"
    )
    done = subprocess.run(
        [python, "-c", program, working.url, str(demo / "mug.jpg")],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    place, label = done.stdout.split()
    assert place.startswith(str(tmp_path / "alone"))
    assert label == "mug"
