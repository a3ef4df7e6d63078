"""Loads a model, runs it once, and puts it behind its batcher.

Blocks for seconds: the registry calls it in a thread.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

from PIL import Image

from app.inference.capacity import largest_batch
from app.inference.family import FamilyTable
from app.inference.live import LiveEncoder, close_encoder
from app.inference.live_vlm import LiveVlm
from app.inference.observing import ModelObserver
from app.inference.prompts import Prompt, Task
from app.inference.protocols import Encoder, Launching, TextEncoder, Vlm
from app.inference.sources import EncoderConfig, EncoderSource
from app.settings import Settings


class ModelOpener:
    """Opens models for one process; each stays open until it is closed."""

    def __init__(
        self,
        settings: Settings,
        families: FamilyTable,
        pool: ThreadPoolExecutor,
        observer: ModelObserver | None,
    ) -> None:
        self.config = EncoderConfig.from_settings(settings)
        self._settings = settings
        self._families = families
        self._pool = pool
        self._observer = observer

    def open_encoder(self, source: EncoderSource) -> LiveEncoder:
        """Load, then run its towers once, so that no request pays for the first run."""
        settings = self._settings
        encoder = cast(Encoder, self._families.load("encoder", source, self.config))
        try:
            blank = Image.new("RGB", (encoder.input_size, encoder.input_size), "gray")
            encoder.encode_images(encoder.preprocess(blank)[None])
            if isinstance(encoder, TextEncoder):
                encoder.encode_texts(["a photo"])
            launcher = encoder.launcher if isinstance(encoder, Launching) else None
            return LiveEncoder(
                encoder,
                pool=self._pool,
                max_batch=launcher.largest_batch if launcher else largest_batch(settings),
                max_queue=settings.batching.max_queue,
                max_cached_texts=settings.batching.max_cached_texts,
                observer=self._observer,
            )
        except BaseException:
            close_encoder(encoder)  # or its adapter would stay with the base that others hold
            raise

    def open_vlm(self, source: EncoderSource) -> LiveVlm:
        """Load, then answer once: on a GPU with as many tokens as it takes to capture a step."""
        settings = self._settings
        vlm = cast(Vlm, self._families.load("vlm", source, self.config))
        task: Task = "vqa" if "vqa" in vlm.tasks else "caption"
        text = "what is this?" if task == "vqa" else ""
        blank = Image.new("RGB", (64, 64), "gray")
        try:
            packed = vlm.pack(Prompt(blank, text, task, max_new_tokens=4 if vlm.device.type == "cuda" else 1))
            if getattr(vlm, "takes_more", False):
                vlm.generate([packed], lambda fits: ())  # with slots for all who may join later
            else:
                vlm.generate([packed])
            return LiveVlm(
                vlm,
                self._pool,
                max_batch=settings.answers.vlm_max_batch,
                max_queue=settings.answers.vlm_max_queue,
                observer=self._observer,
            )
        except BaseException:
            vlm.close()  # or its adapter would stay with the base that others hold
            raise
