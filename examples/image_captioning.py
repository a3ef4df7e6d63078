"""Have a running service describe pictures.

python examples/image_captioning.py photo.jpg another.jpg
"""

import sys

from llamafarm_vision import Vision, VisionError

if len(sys.argv) < 2:
    sys.exit(__doc__)

try:
    with Vision() as vision:
        for path in sys.argv[1:]:
            reply = vision.caption(path)
            print(f"{path}: {reply.caption}")
            for warning in reply.warnings:
                print(f"  Warning: {warning.sentence}", file=sys.stderr)
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
except VisionError as error:
    sys.exit(str(error))
