"""Answers as the service does. pip install onnxruntime numpy pillow; python predict.py IMAGE [IMAGE ...]"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

here = Path(__file__).parent
note = json.loads((here / "export.json").read_text("utf-8"))
graph = onnxruntime.InferenceSession(str(here / note["graph"]), providers=["CPUExecutionProvider"])
steps, labels = note["preprocessing"], note.get("labels")
for name in sys.argv[1:]:
    opened = Image.open(name)
    enough = steps["min_decoded_side"] or max(opened.size)
    opened.draft(None, (enough, enough))  # decodes a large JPEG smaller
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB").reduce(max(min(image.size) // enough, 1))
    kept = [min(side, steps["max_aspect"] * min(image.size)) for side in image.size]
    left, top = ((side - keep) // 2 for side, keep in zip(image.size, kept, strict=True))
    image = image.crop((left, top, left + kept[0], top + kept[1]))
    share, edge = steps["box"] * min(kept), steps["shortest_edge"]
    size = [max(edge, int(edge * side / min(kept))) for side in kept] if edge else steps["size"]
    box = [(side + way * share) / 2 for way in (-1, 1) for side in kept] if share else None
    image = image.resize(size, Image.Resampling(steps["resample"]), box)
    kept = steps["crop"] or size
    left, top = ((side - keep) // 2 for side, keep in zip(size, kept, strict=True))
    values = np.asarray(image.crop((left, top, left + kept[0], top + kept[1])), np.float32)
    values = (values * np.float32(steps["scale"]) - np.float32(steps["mean"])) / np.float32(steps["std"])
    found = graph.run(None, {"pixels": values.transpose(2, 0, 1)[None]})[0][0]
    if labels:  # the best label and its score, or that it is none of them
        label = labels[found.argmax()] if found.max() >= note["threshold"] else "none of the labels"
        found = [label, f"{found.max():.4f}"]
    sys.stdout.write("\t".join([name, *map(str, found)]) + "\n")
