"""Readers of other projects' images, on small files made here, and the rule that keeps tuning and judging apart."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.heads.episodes import FEWEST_QUERIES, alternating, draw, draw_many, mislabel
from benchmarks.image_sets import ImageSet, catalogue, damage, games, packages, reading, textures
from benchmarks.image_sets.definitions import of_files
from benchmarks.image_sets.packages import Package, PackageUnavailableError

FORBIDDEN = ("elpv", "conformal", "mnist", "tuxpaint", "emoji", "openmoji", "twemoji")


def a_set(labels: int = 9, each: int = 30) -> ImageSet:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(labels * each, 8)).astype(np.float32)
    texts = rng.normal(size=(labels, 8)).astype(np.float32)
    return ImageSet(
        "made", vectors, np.repeat(np.arange(labels), each), tuple(map(str, range(labels))), texts
    )


def test_no_set_that_judges_is_tuned_on_and_none_is_of_a_kept_back_kind() -> None:
    tuning, judging = set(catalogue.TUNING), {*catalogue.JUDGING, *catalogue.CURVES}
    assert {definition.side for definition in tuning} == {"tune"}
    assert {definition.side for definition in judging} == {"judge"}
    packages_of_tuning = {package.name for definition in tuning for package in definition.sources}
    packages_of_judging = {package.name for definition in judging for package in definition.sources}
    assert not packages_of_tuning & packages_of_judging
    for name in packages_of_tuning | packages_of_judging:
        assert not any(word in name for word in FORBIDDEN)
    assert all(p.version and p.licence for d in tuning | judging for p in d.sources)


def test_labels_of_icons_and_letters_differ_between_the_sides() -> None:
    def classes(definitions: tuple[catalogue.Definition, ...], word: str) -> set[str]:
        return {
            name
            for definition in definitions
            if definition.name.startswith(word)
            for name in definition.classes
        }

    assert not classes(catalogue.TUNING, "icons") & classes(catalogue.JUDGING, "icons")
    letters = classes(catalogue.TUNING, "letters")
    assert len(letters) == 26
    assert not letters & classes(catalogue.JUDGING, "characters")


def test_a_package_is_fetched_once_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's client is stood in for by a program that writes an archive as `npm pack` does."""
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    (tmp_path / "icon.svg").write_text("<svg/>")
    with tarfile.open(tmp_path / "drawings-1.0.tgz", "w:gz") as archive:
        archive.add(tmp_path / "icon.svg", "package/icon.svg")
    calls = tmp_path / "calls"
    client = tmp_path / "npm"
    client.write_text(f"#!/bin/sh\necho $3 >> {calls}\ncp {tmp_path}/drawings-1.0.tgz .\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    package = Package("npm", "@maker/drawings", "1.0", "MIT")
    assert (package.fetch() / "package" / "icon.svg").read_text() == "<svg/>"
    package.fetch()
    assert calls.read_text().split() == ["@maker/drawings@1.0"]


def test_a_package_that_cannot_be_had_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "CACHE", tmp_path / "cache")
    client = tmp_path / "apt-get"
    client.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    package = Package("debian", "paintings", "1.0", "MIT")
    with pytest.raises(PackageUnavailableError, match="paintings: E: Unable to locate package"):
        package.fetch()
    assert not package.folder.exists()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(PackageUnavailableError, match="no apt-get"):
        package.fetch()


def test_a_transparent_picture_lies_cut_out_on_an_opaque_ground(tmp_path: Path) -> None:
    drawn = Image.new("RGBA", (200, 200))
    drawn.paste((255, 0, 0, 255), (150, 150, 190, 170))
    drawn.paste((0, 0, 255, 255), (150, 170, 190, 190))
    path = tmp_path / "corner.png"
    drawn.save(path)
    image = reading.read(path, 96)
    assert image is not None
    assert image.mode == "RGB"
    pixels = np.asarray(image).reshape(-1, 3)
    assert (
        np.mean(np.all(pixels == (255, 0, 0), axis=1)) > 0.25
    )  # it was a fiftieth before the margin was cut
    assert tuple(pixels[0]) in reading.GROUNDS


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_picture_is_left_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "strange.png"
    path.write_bytes(content)
    assert reading.read(path) is None
    blank = tmp_path / "blank.png"
    Image.new("RGBA", (64, 64)).save(blank)
    assert reading.read(blank) is None


def test_sizes_of_old_drawings_become_pixels_and_their_namespace_is_named() -> None:
    tag = reading.plain_root('<svg width="400.00000pt" height="10mm" viewBox="0 0 4 1">')
    assert 'width="500.00"' in tag
    assert 'height="35.43"' in tag
    assert 'xmlns="http://www.w3.org/2000/svg"' in tag
    assert reading.plain_root(tag) == tag


def test_files_become_labelled_images_at_most_so_many_a_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    found: dict[str, list[Path]] = {"cat": [], "dog": []}
    for label, paths in found.items():
        for place in range(5):
            paths.append(tmp_path / f"{label}{place}.png")
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(paths[-1])
    found["dog"][0].write_bytes(b"broken")
    classes, images = of_files(found, 3)
    assert classes == ("cat", "dog")
    assert [label for _, label in images()] == [0, 0, 0, 1, 1, 1]


def test_a_gimp_pattern_is_read_and_a_cut_one_is_not() -> None:
    pixels = bytes(range(48))
    data = struct.pack(">5I", 28, 1, 4, 4, 3) + b"GPAT" + b"dot\0" + pixels
    image = textures.gimp_pattern(data)
    assert image is not None
    assert image.getpixel((1, 0)) == (3, 4, 5)
    assert textures.gimp_pattern(data[:-1]) is None


def test_a_wad_archive_gives_its_pictures_with_what_no_run_covers_transparent() -> None:
    palette = np.arange(768, dtype=np.uint8).reshape(256, 3)
    column = bytes([1, 2, 0, 7, 9, 0, 255])  # two pixels from row 1 on: colours 7 and 9
    picture = struct.pack("<HHhh", 1, 4, 0, 0) + struct.pack("<I", 12) + column
    image = games.picture(picture, palette)
    assert image.size == (1, 4)
    assert [image.getpixel((0, y))[3] for y in range(4)] == [0, 255, 255, 0]
    assert image.getpixel((0, 2))[:3] == tuple(palette[9])
    archive = (
        struct.pack("<4sii", b"PWAD", 1, 12) + struct.pack("<ii8s", 28, len(picture), b"HEROA1\0\0") + picture
    )
    assert list(games.lumps(archive)) == [("HEROA1", picture)]


@pytest.mark.parametrize(
    "paint", [damage.crack, damage.scratch, damage.stain, damage.hole, damage.dent, damage.rust]
)
def test_damage_shows_and_stays_in_a_part_of_the_surface(paint: damage.Paint) -> None:
    clean = np.full((damage.SIDE, damage.SIDE, 3), 150, np.float32)
    changed = np.abs(paint(clean, np.random.default_rng(3)) - clean).max(axis=2) > 12
    assert 0.0002 < changed.mean() < 0.35


def test_drawn_sets_are_the_same_in_every_run() -> None:
    [tiles] = [image_set for image_set in catalogue.TUNING if image_set.name == "tiles-tune"]
    first, again = (next(iter(tiles.images()))[0] for _ in range(2))
    assert np.array_equal(np.asarray(first), np.asarray(again))


def test_an_episode_asks_about_images_that_it_did_not_teach_and_the_same_at_every_count() -> None:
    images = a_set()
    few, many = (draw(images, images.vectors[:3], (n,), np.random.default_rng(5)) for n in (2, 10))
    assert few is not None
    assert many is not None
    assert len(few.texts) == 6
    assert np.array_equal(few.queries, many.queries)
    taught = {row.tobytes() for row in many.supports}
    assert not taught & {row.tobytes() for row in many.queries}
    assert not taught & {row.tobytes() for row in many.near}
    assert draw(images, images.vectors, (30 - FEWEST_QUERIES + 1,), np.random.default_rng(0)) is None


def test_unbalanced_and_mislabelled_episodes_are_what_they_are_called() -> None:
    images = a_set()
    uneven = draw(images, images.vectors[:1], alternating(20, 2), np.random.default_rng(1))
    assert uneven is not None
    assert sorted(np.bincount(uneven.labels).tolist()) == [2, 2, 2, 20, 20, 20]
    assert not uneven.is_balanced
    clean = draw(images, images.vectors[:1], (10,), np.random.default_rng(1))
    assert clean is not None
    noisy = mislabel(clean, 0.2, np.random.default_rng(2))
    assert np.mean(noisy.labels != clean.labels) == pytest.approx(0.2)
    assert np.array_equal(noisy.supports, clean.supports)


def test_a_large_episode_has_every_label_and_the_size_asked_for() -> None:
    images = a_set(9, 30)
    episode = draw_many(images, 50, np.random.default_rng(0), asked=100)
    assert episode is not None
    assert len(episode.labels) == 50
    assert set(episode.labels.tolist()) == set(range(9))
    assert len(episode.queries) == 100
    assert draw_many(images, 171, np.random.default_rng(0), asked=100) is None
