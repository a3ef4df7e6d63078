"""Icons of one meaning drawn by several makers, from Debian's icon themes: the meaning is the label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks.image_sets.definitions import Definition, Labelled, Side, of_files
from benchmarks.image_sets.packages import Package

TUNING_THEMES = (
    Package("debian", "gnome-icon-theme", "3.12.0-5", "GPL-3.0+ and GPL-2.0+"),
    Package("debian", "lxde-icon-theme", "0.5.1-2.1", "LGPL-3.0+"),
    Package("debian", "faenza-icon-theme", "1.3.1-3", "GPL-3.0+"),
    Package("debian", "elementary-xfce-icon-theme", "0.17-1", "GPL-2.0+"),
    Package("debian", "gnome-icon-theme-gartoon", "0.5-5", "GPL-2.0+"),
)
JUDGING_THEMES = (
    Package("debian", "oxygen-icon-theme", "5:5.103.0-1", "LGPL-3.0+"),
    Package("debian", "tango-icon-theme", "0.8.90-11", "public-domain"),
    Package("debian", "papirus-icon-theme", "20230104-2", "GPL-3.0"),
    Package("debian", "breeze-icon-theme", "4:5.103.0-1", "LGPL-3.0+"),
    Package("debian", "deepin-icon-theme", "2021.11.24-1", "LGPL-3.0+"),
    Package("debian", "suru-icon-theme", "20.05.1-3", "CC-BY-SA-3.0 and GPL-3.0"),
)
TUNING_NAMES = {
    "folder": ("folder",),
    "printer": ("printer",),
    "keyboard": ("input-keyboard",),
    "camera": ("camera-photo",),
    "hard disk": ("drive-harddisk",),
    "floppy disk": ("media-floppy",),
    "trash can": ("user-trash",),
    "house": ("user-home", "go-home"),
    "arrow up": ("go-up",),
    "arrow back": ("go-previous",),
    "scissors": ("edit-cut",),
    "eraser or delete": ("edit-delete",),
    "undo arrow": ("edit-undo",),
    "magnifying glass": ("edit-find",),
    "bold text": ("format-text-bold",),
    "lines of centred text": ("format-justify-center",),
    "warning sign": ("dialog-warning",),
    "error sign": ("dialog-error",),
    "loudspeaker": ("audio-volume-high",),
    "terminal": ("utilities-terminal",),
    "address book": ("address-book-new", "x-office-address-book"),
    "open a document": ("document-open",),
    "text file": ("text-x-generic",),
    "sound file": ("audio-x-generic",),
    "picture file": ("image-x-generic",),
    "box or package": ("package-x-generic",),
    "people": ("system-users",),
    "plus sign": ("list-add",),
}
JUDGING_NAMES = {
    "computer": ("computer",),
    "computer mouse": ("input-mouse",),
    "optical disc": ("media-optical",),
    "desktop": ("user-desktop",),
    "bookmark or star": ("bookmark-new", "bookmarks", "folder-bookmark", "emblem-favorite"),
    "clipboard": ("edit-paste",),
    "calendar": ("x-office-calendar", "office-calendar", "calendar"),
    "spreadsheet": ("x-office-spreadsheet",),
    "presentation": ("x-office-presentation",),
    "film": ("video-x-generic",),
    "letter font": ("font-x-generic", "preferences-desktop-font"),
    "stop sign": ("process-stop",),
    "circling arrow": ("view-refresh",),
    "letter or mail": ("internet-mail", "mail-unread", "mail-message-new"),
    "play": ("media-playback-start",),
    "pause": ("media-playback-pause",),
    "battery": ("battery",),
    "lifebuoy or question mark": ("help-browser", "help-contents"),
    "padlock": ("system-lock-screen", "emblem-readonly", "object-locked"),
    "sun": ("weather-clear",),
    "rain": ("weather-showers", "weather-showers-scattered"),
    "snow": ("weather-snow",),
    "calculator": ("accessories-calculator",),
    "globe": ("applications-internet", "internet-web-browser", "web-browser"),
    "game controller": ("applications-games", "input-gaming"),
    "palette or brush": ("applications-graphics",),
    "arrow down": ("go-down",),
    "microphone": ("audio-input-microphone",),
}
MOST = 40
SMALLEST = 22
"""Pixels; below it icons of two makers are hardly told apart by eye."""


@cache
def _files(themes: tuple[Package, ...]) -> dict[str, list[Path]]:
    """Icon name -> files of all themes."""
    found: dict[str, list[Path]] = {}
    for theme in themes:
        root = theme.fetch() / "usr" / "share" / "icons"
        for path in sorted(root.rglob("*")):
            # An alias is the same picture under another name.
            drawn = path.suffix in (".png", ".svg") and "symbolic" not in str(path)
            if drawn and not path.is_symlink() and _size(path) >= SMALLEST:
                found.setdefault(path.stem, []).append(path)
    return found


def _size(path: Path) -> int:
    """Pixels that the folders' names tell, such as 48x48 or 48; a large number for drawings without a size."""
    for part in path.parts[::-1]:
        digits = part.removesuffix("@2x").split("x")[0]
        if digits.isdigit():
            return int(digits)
    return 1000


def meanings(
    name: str, side: Side, themes: tuple[Package, ...], names: dict[str, tuple[str, ...]]
) -> Definition:
    """Icons whose label is what they mean."""

    def classes() -> dict[str, Sequence[Path]]:
        files = _files(themes)
        return {
            label: [path for stem in stems for path in files.get(stem, [])] for label, stems in names.items()
        }

    def images() -> Labelled:
        return of_files(classes(), MOST)[1]()

    return Definition(name, "icons, by what they mean", side, tuple(names), images, themes)


TUNING = meanings("icons-tune", "tune", TUNING_THEMES, TUNING_NAMES)
JUDGING = meanings("icons-judge", "judge", JUDGING_THEMES, JUDGING_NAMES)
