"""The generated pages agree with the code, links lead somewhere, and the map names every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.errors import list_errors
from app.settings import list_groups
from scripts import dependencies_docs, errors_docs, settings_docs, surface_docs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(page.relative_to(ROOT).as_posix() for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PAGES += ["client/README.md", "examples/README.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^ *```.*?^ *```$|^    [^\n]*$", re.MULTILINE | re.DOTALL)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    file = ROOT / page
    for link in LINK.findall(CODE.sub("", file.read_text())):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in slugs(target), link


def test_the_map_names_every_page() -> None:
    linked = set(LINK.findall((ROOT / "docs/README.md").read_text()))
    assert linked >= {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}


def test_settings_page_is_what_the_code_says() -> None:
    assert settings_docs.PAGE.read_text() == settings_docs.page(), "run `make docs`"


def test_every_command_and_call_is_on_its_page_with_a_sentence() -> None:
    page = surface_docs.page()
    assert surface_docs.PAGE.read_text() == page, "run `make docs`"
    assert not re.findall(r"^\| `.*` \|  \|$", page, re.MULTILINE)


def test_every_setting_is_on_the_page_with_help() -> None:
    page = settings_docs.PAGE.read_text()
    for group in list_groups().values():
        for name, field in group.model_fields.items():
            assert re.search(rf"^\| `VISION_{name.upper()}` \|", page, re.MULTILINE), name
            assert field.description, name


def test_every_error_is_on_its_page_with_what_to_do() -> None:
    page = errors_docs.page()
    assert errors_docs.PAGE.read_text() == page, "run `make docs`"
    for kind in list_errors().values():
        (line,) = re.findall(rf"^\| {kind.status} \| `{kind.code}` \| .*$", page, re.MULTILINE)
        assert line.count("|") == 6, line
        for sentence in line.split("|")[-3:-1]:
            assert re.fullmatch(r" [A-Z].+\. ", sentence), sentence


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    assert dependencies_docs.list_explained() == dependencies_docs.list_declared()


def test_constraints_name_exact_versions_and_no_place() -> None:
    lines = (dependencies_docs.ROOT / "constraints.txt").read_text().splitlines()
    for line in lines:
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
