"""Ask a running service about a picture, and read the answer while it comes.

python examples/visual_qa.py photo.jpg "what color is the shape?"
"""

import sys

from llamafarm_vision import Vision, VisionError

if len(sys.argv) != 3:
    sys.exit(__doc__)
_, path, question = sys.argv

try:
    with Vision() as vision:
        for piece in vision.ask_stream(path, question):
            print(piece.text, end="", flush=True)
    print()
except OSError as error:
    sys.exit(f"{error.filename}: {error.strerror}")
except VisionError as error:
    sys.exit(str(error))
