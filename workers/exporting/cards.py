"""The model card that travels with an export: what it is, what it was trained on, how good it is.

Knows cards and figures; knows nothing of files beside its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.shared.model_files import ModelFiles
from workers.shared.model_page import model_page


def write(folder: Path, found: ModelFiles, name: str, report: dict[str, Any]) -> None:
    """Write README.md."""
    card = found.card
    if card is None:
        kind = "vision-language model" if "graphs" in report else "encoder"
        lines = [f"# {name}", "", f"The {kind} `{found.word}` as it is served.", ""]
    else:
        lines = model_page(card, name)
    if "graphs" in report:
        lines += _graphs(report)
    files = report.get("files")
    if isinstance(files, dict):
        lines += ["## Parity with the served model", "", *(_parity(*found) for found in files.items()), ""]
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
