"""LLaVA of 7B parameters behind the service's built-in loop, against plain `generate` of transformers."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import torch
import transformers
from PIL import Image

from app.embedded import purge
from app.inference.sources import CHECKPOINTS
from benchmarks.checkpoints import random_llava
from benchmarks.gpu.forward import dtype_of, synchronise
from benchmarks.gpu.plan import Plan, Recorder
from benchmarks.gpu.serving import service
from benchmarks.gpu.watching import Watch
from benchmarks.pictures import pictures

TOGETHER = 16
ROUNDS = 2
ENCODER = CHECKPOINTS / "clip-tiny"
"""A small one beside the model that is measured."""


def llava(plan: Plan) -> Path:
    """The checkpoint, made where no section before has made it."""
    folder = plan.scratch / "llava-random"
    if not (folder / "processor_config.json").exists():
        random_llava(folder, whole=not plan.tiny, device=plan.device, dtype=dtype_of(plan.device))
        free(plan)
    return folder


def free(plan: Plan) -> None:
    """Give the device's memory back to whoever comes next."""
    gc.collect()
    if plan.device.startswith("cuda"):
        torch.cuda.empty_cache()


def questions(count: int) -> list[str]:
    """Questions of one length."""
    return [f"what is the color of shape {chr(97 + index % 26)}?" for index in range(count)]


def tokens_of(plan: Plan) -> int:
    """New tokens of each answer."""
    return 8 if plan.tiny else 64


def plain_rates(plan: Plan, folder: Path) -> dict[int, float]:
    """Batch size -> tokens a second of `generate` as transformers comes."""
    load: Any = transformers.LlavaForConditionalGeneration.from_pretrained
    where = (
        {"device_map": plan.device} if plan.device.startswith("cuda") else {}
    )  # not by way of the host's memory
    model = load(folder, dtype=dtype_of(plan.device), **where).eval().to(plan.device)
    processor: Any = transformers.AutoProcessor.from_pretrained(folder, backend="pil")
    images = [Image.open(BytesIO(data)) for data in pictures(TOGETHER)]
    rates = {}
    for batch in (TOGETHER, 1):
        texts = []
        for question in questions(batch):
            turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            texts.append(processor.apply_chat_template(turn, add_generation_prompt=True))
        inputs = processor(images=images[:batch], text=texts, return_tensors="pt", padding=True).to(
            plan.device
        )
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            model.generate(**inputs, max_new_tokens=2, do_sample=False)
            took = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                found = model.generate(**inputs, max_new_tokens=tokens_of(plan), do_sample=False)
                synchronise(plan.device)
                took.append(time.perf_counter() - begun)
        rates[batch] = batch * (found.shape[1] - inputs["input_ids"].shape[1]) / min(took)
    return rates


def ask(client: httpx.Client, image: bytes, question: str, tokens: int) -> int:
    """One question over HTTP; how many tokens answered it."""
    form = {"question": question, "max_new_tokens": str(tokens)}
    reply = client.post("/v1/vqa", data=form, files={"image": image}, timeout=300)
    reply.raise_for_status()
    return int(reply.json()["usage"]["completion_tokens"])


def measure_rate(client: httpx.Client, plan: Plan, together: int) -> float:
    """Tokens a second of so many questions asked at once; the better of some rounds."""
    asked = list(zip(pictures(together), questions(together), strict=True))
    rates = []
    with ThreadPoolExecutor(together) as pool:
        for _ in range(ROUNDS + 1):  # the first compiles what the others use
            begun = time.perf_counter()
            tokens = sum(pool.map(lambda pair: ask(client, *pair, tokens_of(plan)), asked))
            rates.append(tokens / (time.perf_counter() - begun))
    return max(rates[1:])


def measure(plan: Plan, recorder: Recorder) -> None:
    """Both, at 16 together and alone."""
    folder = llava(plan)
    plain = plain_rates(plan, folder)
    free(plan)
    for batch, rate in plain.items():
        recorder.figure(f"LLaVA, plain generate, batch {batch}", rate, "tokens/s")
    data_dir = plan.scratch / "answers"
    try:
        with service(plan, ENCODER, data_dir, VISION_VLM=str(folder)) as (live, _), live.client() as client:
            begun = time.perf_counter()
            ask(client, pictures(1)[0], questions(1)[0], 1)
            recorder.figure(
                "LLaVA, first answer after the service is ready", time.perf_counter() - begun, "s"
            )
            with Watch(live) as watch:
                together = measure_rate(client, plan, TOGETHER)
            note = "" if watch.gpu_percent is None else f"GPU {watch.gpu_percent:.0f}%"
            recorder.figure(f"LLaVA, {TOGETHER} questions together", together, "tokens/s", note=note)
            recorder.figure(
                f"LLaVA, {TOGETHER} together over plain generate", together / plain[TOGETHER], least=1.2
            )
            recorder.figure("LLaVA, alone", measure_rate(client, plan, 1), "tokens/s", least=120)
    finally:
        purge(data_dir)
