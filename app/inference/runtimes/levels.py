"""A tower at a level of optimisation: climbed from float32 torch, each level measured, what strays too far refused."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass

import torch

from app.inference import device as devices
from app.inference.optimisation import Optimisation, up_to
from app.inference.protocols import Pixels
from app.inference.runtimes import parity
from app.inference.runtimes.engines import TORCH_FLOAT32, pixels_of
from app.inference.runtimes.offers import CpuOffers, CudaOffers
from app.inference.runtimes.tower import ImageRuntime, Tower
from app.inference.sources import EncoderConfig

log = logging.getLogger(__name__)

ROUNDS = 5
MIN_ROUNDS = 1
RACE_SECONDS = 1.5
"""No new round begins after this long, so that a level asked for on a busy machine does not hold up its start."""
NOISE = 1.05
"""Times measured on a machine that does other things differ by this much for no reason; less is no difference."""


@dataclass(frozen=True)
class LevelChoice:
    """What runs at one level."""

    level: str
    name: str
    speed_up: float
    parity: float


class Ladder:
    """The levels of one tower on one device, up to the one that was asked for."""

    def __init__(self, tower: Tower, config: EncoderConfig, place: devices.Device) -> None:
        self.tower = tower
        self.asked = config.optimisation
        self.least_cosine = config.parity_cosine
        threads = devices.threads(config.threads)
        self.offers: CpuOffers | CudaOffers
        if place.kind != "cpu":
            self.offers = CudaOffers(tower, place, config)
        else:
            torch.set_num_threads(threads)
            self.offers = CpuOffers(tower, threads, config.cache_dir, config.parity_cosine)
        self._note = self.offers.note("level", f"{self.asked} {config.parity_cosine} {threads}")

    def climb(self) -> tuple[ImageRuntime, Optimisation]:
        """The tower at the highest level up to the one asked for that stays close enough, and how it compares.

        Measured once on a machine: the outcome lies beside the engines. Blocks for seconds then.
        """
        kept = self._note.read()
        try:
            return self.offers.load(kept["runtime"]), Optimisation(**kept["optimisation"])
        except (KeyError, TypeError):  # measured for the first time
            pass
        except Exception:
            log.warning("The engine %s could not be used again; measuring anew.", kept, exc_info=True)
        return self._measure()

    def _measure(self) -> tuple[ImageRuntime, Optimisation]:
        pixels = pixels_of(self.tower)
        running = {TORCH_FLOAT32: self.offers.load(TORCH_FLOAT32)}
        reference = self.tower.finish(running[TORCH_FLOAT32].run(pixels))
        cosines = {TORCH_FLOAT32: 1.0}
        said: list[str] = []
        offered: dict[str, list[str]] = {"none": [TORCH_FLOAT32]}
        for level in up_to(self.asked)[1:]:
            names, remarks = self.offers.at(level, reference, pixels)
            offered[level] = names
            if level == self.asked:  # what a level below lacks is no news to who asked for more
                said += remarks
            for name in names:
                if name in cosines:
                    continue
                try:
                    runtime = self.offers.load(name)
                    cosines[name] = parity.compare(reference, self.tower.finish(runtime.run(pixels))).least
                except Exception:  # a runtime this machine lacks, or a model it cannot express
                    log.warning("The runtime %s is not available for this model.", name, exc_info=True)
                    said.append(f"{name} is not available for this model here.")
                    cosines[name] = float("-inf")
                    continue
                if cosines[name] >= self.least_cosine:
                    running[name] = runtime
            if not any(name in running for name in names):
                said.append(self._refusal(level, names, cosines))
        choices = _choose_fastest(offered, cosines, _seconds(running, pixels))
        top = choices[-1]
        if top.level == self.asked:
            said += self._others(offered[top.level], top, cosines)
        said += _against_below(choices)
        found = Optimisation(
            self.asked, top.level, round(top.speed_up, 2), round(top.parity, 5), " ".join(said) or None
        )
        if said:
            log.warning("optimisation %s of a model: %s", self.asked, found.note)
        self.offers.keep([choice.name for choice in choices])
        self._note.write({"runtime": top.name, "optimisation": asdict(found)})
        return running[top.name], found

    def _others(self, names: list[str], top: LevelChoice, cosines: dict[str, float]) -> list[str]:
        """What else was tried at the level that runs, and why it is not what runs."""
        return [
            f"{name} was measured, too: "
            + (
                "no faster."
                if cosines[name] >= self.least_cosine
                else f"refused at a least cosine of {cosines[name]:.4f}."
            )
            for name in names
            if name != top.name and cosines[name] > float("-inf")
        ]

    def _refusal(self, level: str, names: list[str], cosines: dict[str, float]) -> str:
        tried = [name for name in names if cosines[name] > float("-inf")]
        if not tried:
            return f"'{level}' is not available for this model here."
        best = max(tried, key=cosines.__getitem__)
        return (
            f"'{level}' was refused: with {best} the least cosine to float32 torch is {cosines[best]:.4f}, below "
            f"the {self.least_cosine:g} that VISION_PARITY_COSINE asks for."
        )


def _choose_fastest(
    offered: dict[str, list[str]], cosines: dict[str, float], seconds: dict[str, float]
) -> list[LevelChoice]:
    """The fastest of each level that has any; what is named first must be beaten by more than noise."""
    choices = []
    for level, names in offered.items():
        able = [name for name in names if name in seconds]
        if able:
            best = min(able, key=lambda name: seconds[name] * (1.0 if name == able[0] else NOISE))
            choices.append(LevelChoice(level, best, seconds[TORCH_FLOAT32] / seconds[best], cosines[best]))
    return choices


def _against_below(choices: list[LevelChoice]) -> list[str]:
    """What the highest level is worth against the one below it, where that is nothing."""
    if len(choices) < 2:
        return []
    below, top = choices[-2:]
    if top.name == below.name:
        return [f"'{top.level}' runs what '{below.level}' runs here ({top.name}): nothing else is faster."]
    if top.speed_up * NOISE < below.speed_up:
        return [
            f"'{top.level}' is slower than '{below.level}' here: {top.speed_up:.2f} against "
            f"{below.speed_up:.2f} times as fast as eager float32 torch."
        ]
    return []


def _seconds(running: dict[str, ImageRuntime], pixels: Pixels) -> dict[str, float]:
    """Best time of one pass over all images (8); the candidates take turns. Each has run once before."""
    best = dict.fromkeys(running, float("inf"))
    if len(running) == 1:
        return dict.fromkeys(running, 1.0)
    began = time.perf_counter()
    for turn in range(ROUNDS):
        if turn >= MIN_ROUNDS and time.perf_counter() - began > RACE_SECONDS:
            break
        for name, runtime in running.items():
            start = time.perf_counter()
            runtime.run(pixels)
            best[name] = min(best[name], time.perf_counter() - start)
    return best
