"""A service that was taught two photos, for every client of other projects."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import shapes
from tests.conftest import ServiceStarter
from tests.live import Live
from tests.photos import encode_photo, photo

SHAPE = sorted(shapes.list_shapes())[20]
COLOUR, FORM = shapes.list_shapes()[SHAPE]


@dataclass(frozen=True)
class Pictures:
    """Files of photos and of a drawn shape, and their bytes."""

    folder: Path

    def read(self, name: str) -> bytes:
        """The file's bytes; `name` is `cat.jpg`, `coffee.jpg`, `rocket.jpg`, `shape.png` or `large.jpg`."""
        return (self.folder / name).read_bytes()

    def path(self, name: str) -> str:
        """Where the file lies."""
        return str(self.folder / name)

    def base64(self, name: str) -> str:
        """The file as base64."""
        return base64.b64encode(self.read(name)).decode()

    def uri(self, name: str) -> str:
        """The file as a data: URI."""
        kind = "png" if name.endswith("png") else "jpeg"
        return f"data:image/{kind};base64,{self.base64(name)}"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """`cat.jpg`, `coffee.jpg`, `rocket.jpg` and `shape.png`."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, of in {"cat": "chelsea", "coffee": "coffee", "rocket": "rocket"}.items():
        (folder / f"{name}.jpg").write_bytes(encode_photo(photo(of)))
    (folder / "shape.png").write_bytes(shapes.data(SHAPE))
    return Pictures(folder)


@pytest.fixture(scope="module")
def served(start_service: ServiceStarter, pictures: Pictures) -> Live:
    """A ready service whose collection `default` knows `cat` and `coffee`."""
    live = start_service({})
    live.forget_everything()
    with live.client() as client:
        for label in ("cat", "coffee"):
            taught = client.post(
                "/v1/collections/default/examples",
                data={"label": label},
                files={"image": pictures.read(f"{label}.jpg")},
            )
            assert taught.is_success, taught.text
    return live
