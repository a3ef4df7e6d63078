"""The README that travels with an export: what the model is and how good, how its files are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.exporting.pages import graph_page, steps_page
from workers.shared.model_files import ModelFiles
from workers.shared.model_page import model_page


def write(folder: Path, found: ModelFiles, name: str, report: dict[str, Any]) -> None:
    """Write the README.md of an exported model."""
    card = found.card
    if card is None:
        kind = "vision-language model" if "graphs" in report else "encoder"
        lines = [f"# {name}", "", f"The {kind} `{found.word}` as it is served.", ""]
    else:
        lines = model_page(card, name)
    if "graphs" in report:
        lines += _graphs(report)
    elif "graph" in report:
        lines += graph_page(report)
    if report.get("preprocessing"):
        lines += ["## Preprocessing", "", *steps_page(report["preprocessing"]), ""]
    files = report.get("files")
    if isinstance(files, dict):
        lines += ["## Parity with the served model", "", *(_parity(*found) for found in files.items()), ""]
    elif files:
        lines += ["## Files", "", *(f"- `{file}`{_purpose(file)}" for file in files), ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _parity(file: str, figures: dict[str, Any]) -> str:
    same = f"same best answer {figures['top1']:.1%}, " if "top1" in figures else ""
    return (
        f"- {file}: cosine {figures['least_cosine']:.6f} at least, {same}"
        f"largest difference {figures['max_difference']:.2g}, on {figures['examples']} rows"
    )


def _graphs(report: dict[str, Any]) -> list[str]:
    """How a vision-language model's graphs are run, in their order, and by what."""
    answers, commands = report["answers"], []
    if "vqa" in report["tasks"]:
        commands.append('    python answer.py image.png "what color is the shape?"')
    if "caption" in report["tasks"]:
        commands.append("    python answer.py image.png    # a caption")
    lines = [
        "## Answering",
        "",
        "    pip install onnxruntime numpy pillow tokenizers",
        *commands,
        "",
        f"Its answers were compared with the model's own, token by token, on {answers['compared']} images "
        f"({answers['tokens']} tokens): {answers['same']:.0%} are the same. The service shrinks photographs whose "
        "shorter side has 2,048 pixels or more while it reads them, and scales samples of 16 bits; the runner does "
        "neither, and may answer differently there.",
        "",
        "## Graphs",
        "",
        "In the order they run; `answer.py` is the whole of it. All weights are float32. What a graph gives goes by "
        "the same name into those after it.",
        "",
    ]
    for file, graph in report["graphs"].items():
        lines += [f"### {file}", "", graph["purpose"], ""]
        for way in ("inputs", "outputs"):
            lines += [
                f"{way.capitalize()}:",
                "",
                *(f"- {name}: {told}" for name, told in graph[way].items()),
                "",
            ]
    return lines


_PURPOSES = {
    "vision.json": "what the model is: its labels, its base, and how the encoder was changed",
    "head.safetensors": "the classifier on the encoder's features, as the service loads it",
    "model.safetensors": "the weights, with every change merged",
    "config.json": "sizes; with it transformers loads this folder by `from_pretrained`",
    "preprocessor_config.json": "how images are prepared, as transformers reads it",
    "processor_config.json": "how images and texts are prepared, as transformers reads it",
    "tokenizer.json": "the tokenizer",
    "domain.safetensors": "what the model knows, by which the service warns of other images",
}


def _purpose(file: str) -> str:
    return f": {_PURPOSES[file]}" if file in _PURPOSES else ""
