"""Boxes are cut from the pixels they were drawn on, whatever happened to the image since."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from app.media.errors import InvalidImageError
from app.media.images import ImageLimits
from workers.datasets.crops import ASSUMED, CLIPPED, SCALED, TURNED, Cropper
from workers.datasets.records import SHARES, Box

RED, GREY = (220, 20, 20), (128, 128, 128)
SIZE = (120, 80)
BOX = Box(90, 10, 20, 30)
"""Where the red patch lies in the image as it is stored."""
_ORIENTATION = 0x0112


def photo(size: tuple[int, int] = SIZE, box: Box = BOX, orientation: int = 1, form: str = "PNG") -> bytes:
    image = Image.new("RGB", size, GREY)
    image.paste(RED, (int(box.left), int(box.top), int(box.left + box.width), int(box.top + box.height)))
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))
    return buffer.getvalue()


def cut(data: bytes, box: Box, limits: ImageLimits | None = None) -> tuple[Image.Image, tuple[str, ...]]:
    crop = Cropper(limits or ImageLimits()).cut(data, box)
    return Image.open(io.BytesIO(crop.png)).convert("RGB"), crop.changes


def drawn(on: tuple[float, float] | None, box: Box = BOX) -> Box:
    return Box(box.left, box.top, box.width, box.height, on)


def only_red(image: Image.Image) -> bool:
    return image.getcolors() == [(image.width * image.height, RED)]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_box_of_the_stored_image_turns_with_it(orientation: int) -> None:
    image, done = cut(photo(orientation=orientation), drawn(SIZE))
    assert image.size == (30, 20)
    assert only_red(image)
    assert done == (TURNED,)


@pytest.mark.parametrize(
    ("orientation", "box"), [(6, Box(40, 90, 30, 20)), (8, Box(10, 10, 30, 20))], ids=["right", "left"]
)
def test_a_box_of_the_upright_image_stays(orientation: int, box: Box) -> None:
    image, done = cut(photo(orientation=orientation), drawn((80, 120), box))
    assert (only_red(image), done) == (True, ())


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_sizes_cannot_tell_the_box_is_refused(orientation: int) -> None:
    with pytest.raises(InvalidImageError, match="as it is stored or as EXIF turns it"):
        cut(photo(orientation=orientation), drawn(SIZE))


def test_without_a_size_the_upright_image_is_assumed_and_said() -> None:
    image, done = cut(photo(orientation=6), Box(40, 90, 30, 20))
    assert (only_red(image), done) == (True, (ASSUMED,))
    assert cut(photo(), BOX)[1] == ()


@pytest.mark.parametrize("factor", [0.5, 2.0, 10.0])
def test_a_box_is_scaled_with_its_image(factor: float) -> None:
    box = Box(*(factor * side for side in (90, 10, 20, 30)), (factor * SIZE[0], factor * SIZE[1]))
    image, done = cut(photo(), box)
    assert (image.size, only_red(image), done) == ((20, 30), True, (SCALED,))
    turned, done = cut(photo(orientation=6), box)
    assert (turned.size, only_red(turned), done) == ((30, 20), True, (SCALED, TURNED))


def test_a_box_of_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidImageError, match="another shape: '500 x 100, not 120 x 80'"):
        cut(photo(), drawn((500, 100)))


def test_a_box_in_shares_is_of_the_upright_image() -> None:
    image, _ = cut(photo(), Box(0.75, 0.125, 20 / 120, 30 / 80, SHARES))
    assert (image.size, only_red(image)) == ((20, 30), True)
    image, _ = cut(photo(orientation=6), Box(0.5, 0.75, 30 / 80, 20 / 120, SHARES))
    assert (image.size, only_red(image)) == ((30, 20), True)


def test_large_photos_are_cut_before_they_are_reduced() -> None:
    box = Box(3_000, 2_000, 800, 600)
    data = photo((4_000, 3_000), box, form="JPEG")
    image, _ = cut(data, Box(3_000, 2_000, 800, 600, (4_000, 3_000)), ImageLimits(stored_side=512))
    assert image.size == (800, 600)
    assert max(abs(have - want) for have, want in zip(image.getpixel((400, 300)), RED, strict=True)) < 4  # type: ignore[arg-type]


def test_boxes_at_the_edge_and_beyond() -> None:
    image, done = cut(photo(), Box(100, -5, 50, 30, SIZE))
    assert (image.size, done) == ((20, 25), (CLIPPED,))
    for outside in (Box(120, 0, 5, 5), Box(-9, 0, 9, 9), Box(0, 300, 9, 9)):
        with pytest.raises(InvalidImageError, match="outside the image"):
            cut(photo(), outside)
    with pytest.raises(InvalidImageError, match="less than a pixel"):
        cut(photo(), Box(5, 5, 0.2, 9))


def test_boxes_of_several_images_one_after_the_other() -> None:
    cropper = Cropper(ImageLimits())
    left, right = photo(), photo(box=Box(0, 0, 20, 30))
    for data, box in ((left, BOX), (right, Box(0, 0, 20, 30)), (right, Box(0, 5, 10, 10)), (left, BOX)):
        assert only_red(Image.open(io.BytesIO(cropper.cut(data, box).png)).convert("RGB"))
