"""The documentation: short enough to read, and all that it names exists."""

import importlib.util
import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())


def test_the_readme_fits_150_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pages
def test_what_a_page_links_exists(page):
    links = [link for link in LINK.findall(page.read_text()) if not re.match("https?:", link)]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pages
def test_what_a_page_says_to_run_exists(page):
    text = page.read_text()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE)) <= targets
    modules = re.findall(r"python -m ((?:tools|benchmarks)[\w.]*)", text)
    configs = [name for path in re.findall(r"configs/[\w{},*]+\.py", text) for name in _each(path)]
    assert [path for path in configs if not list(ROOT.glob(path))] == []
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def _each(path: str) -> list[str]:
    """What a shell makes of the braces in a path."""
    parts = re.split(r"\{([^}]*)\}", path)
    choices = [part.split(",") if k % 2 else [part] for k, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]
