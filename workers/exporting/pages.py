"""The parts of an export's README that say how to run an encoder or a classifier elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

_TENSORS = {
    "pixels": "prepared images, see Preprocessing",
    "features": "vectors of unit length: the dot product of two is their cosine",
    "scores": "one probability a label, in the order of `labels` in export.json",
    "none": "the probability that the image shows none of the labels",
    "input_ids": "tokens of a text, see tokenizer/",
    "attention_mask": "1 for each token, 0 for padding",
}


def graph_page(report: Mapping[str, Any]) -> list[str]:
    """How the graphs are used: the runner, tensors, scores and threshold, and what was left out."""
    left_out = report.get("left_out") or {}
    lines = ["## Using it", ""]
    if "predict.py" not in left_out:
        lines += [
            "    pip install onnxruntime numpy pillow",
            "    python predict.py photo.jpg",
            "",
            f"prints {_format_report(report)} It was run on {report['runner']['images']} images before this folder was "
            "handed out, and answers as the model does. The service also scales samples of 32 bits and floats.",
            "",
        ]
    lines += [*(f"- {sentence}" for sentence in left_out.values()), *([""] if left_out else [])]
    lines += ["## Graphs", "", "float32, any number of images at a time.", ""]
    for file, tensors in report["tensors"].items():
        lines += [f"### {file}", ""]
        for way in ("inputs", "outputs"):
            for name, told in tensors[way].items():
                meaning = f": {_TENSORS[name]}" if name in _TENSORS else ""
                lines.append(f"- {way[:-1]} `{name}` {told}{meaning}")
        lines.append("")
    if "scores" in report:
        lines += ["## Scores", "", report["scores"], "", "## Threshold", "", _threshold(report), ""]
    return lines


def steps_page(steps: Mapping[str, Any]) -> list[str]:
    """What becomes of an image before a graph sees it, a line a step; the numbers are in preprocessing.json."""
    if "mean" not in steps:
        return [f"- {name}: {value}" for name, value in steps.items()]
    lines = [
        "1. Made upright by its EXIF orientation; transparency laid on white; channels in the order R, G, B."
    ]
    if least := steps.get("min_decoded_side"):
        lines.append(
            f"1. If its shorter side has {2 * least:,} pixels or more: shrunk by a whole factor (box average) to at "
            f"least {least:,}, as the service does while it reads."
        )
    lines.append(f"1. If one side is over {steps['max_aspect']} times the other: its middle, that long.")
    width, height = steps.get("size") or (steps.get("width"), steps.get("height"))
    name = Image.Resampling(steps["resample"]).name.lower()
    if steps.get("box"):
        lines.append(
            f"1. Its middle square, with {steps['box']:g} of the shorter side, scaled to {width} x {height} ({name})."
        )
    elif steps["shortest_edge"]:
        lines.append(f"1. Scaled so that the shorter side has {steps['shortest_edge']} pixels ({name}).")
    else:
        lines.append(f"1. Scaled to {width} x {height}, whatever its shape ({name}).")
    if steps["crop"]:
        lines.append(f"1. The middle {steps['crop'][0]} x {steps['crop'][1]} of it (width x height).")
    lines += [
        f"1. Values 0 to 255 become (value * {steps['scale']:g} - mean) / std, with mean {_channels(steps['mean'])} "
        f"and std {_channels(steps['std'])} for R, G, B.",
        "1. float32, channels first: [images, 3, height, width].",
    ]
    return lines


def _channels(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _format_report(report: Mapping[str, Any]) -> str:
    if "labels" in report:
        return "the best label and its score, or `none of the labels` where the score is below the threshold."
    return "the image's vector."


def _threshold(report: Mapping[str, Any]) -> str:
    return (
        f"{report['threshold']:.4g}: an image whose best score is lower counts as none of the labels, as `rejected` of "
        "POST /v1/classify says. It is where the closed-form head expects to tell known from unknown images best."
    )
