"""Teach a running service what your pictures show, then ask it about others.

python examples/image_classification.py cat=cat.jpg coffee=cup.jpg -- unknown.jpg
"""

import sys

from llamafarm_vision import Vision, VisionError

if "--" not in sys.argv[2:-1]:
    sys.exit(__doc__)
middle = sys.argv.index("--")

try:
    with Vision() as vision:
        for example in sys.argv[1:middle]:
            label, _, path = example.partition("=")
            vision.learn(path, label)
        for path in sys.argv[middle + 1 :]:
            found = vision.classify(path, top_k=3)
            scores = ", ".join(f"{score.label} {score.score:.3f}" for score in found.scores)
            print(f"{path}: {found.label or 'none of these'} ({scores}, none {found.none:.3f})")
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
except VisionError as error:
    sys.exit(str(error))
