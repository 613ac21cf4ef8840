"""What an installation brings: the packages that are imported, the files that are no modules."""

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {"dsh_jax", "configs", "tools", "benchmarks", "tests"} | {
    path.stem for path in (ROOT / "tests").glob("*.py")
}
EXTRAS = {
    name: {canonicalize_name(Requirement(line).name): Requirement(line).specifier for line in lines}
    for name, lines in PROJECT["project"]["optional-dependencies"].items()
}


def required(name):
    """The names of a file of requirements, with what each allows."""
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    # No options and no comments behind a name: setuptools reads the file too.
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = {canonicalize_name(requirement.name): requirement.specifier for requirement in parsed}
    assert len(found) == len(parsed)
    return found


def imported(*places):
    """The names of the distributions that the Python files import."""
    files = [file for place in places for file in sorted((ROOT / place).rglob("*.py"))]
    files += [ROOT / place for place in places if place.endswith(".py")]
    assert files
    modules = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    distributions = importlib.metadata.packages_distributions()
    return {canonicalize_name(distributions.get(name, [name])[0])
            for name in modules - OURS - set(sys.stdlib_module_names)}  # fmt: skip


# "export" belongs into an environment of its own.
@pytest.mark.parametrize("extra", [name for name in EXTRAS if name != "export"])
def test_what_an_extra_takes_is_installed_for_the_tests(extra):
    development = required("requirements-dev.txt")
    assert {name: development.get(name) for name in EXTRAS[extra]} == EXTRAS[extra]


def test_what_is_imported_is_required():
    runtime, development = required("requirements.txt"), required("requirements-dev.txt")
    documentation, parity = required("requirements-docs.txt"), required("requirements-parity.txt")
    extras = {name for extra in EXTRAS.values() for name in extra}
    assert imported("dsh_jax", "configs", "train.py", "eval.py", "search.py") <= (
        runtime.keys() | extras
    )
    assert imported("tests", "benchmarks", "tools") <= (
        runtime.keys() | development.keys() | documentation.keys() | parity.keys()
    ) | {"packaging"}  # comes with pytest

    assert not runtime.keys() & development.keys()


@pytest.mark.parametrize("name", ["jax", "flax", "orbax-checkpoint"])
def test_what_changes_its_calls_has_an_upper_bound(name):
    bounds = required("requirements.txt")[name]
    assert {bound.operator for bound in bounds} == {">=", "<"}
    assert importlib.metadata.version(name) in bounds


def test_an_installation_takes_its_requirements_from_the_same_file():
    assert "dependencies" in PROJECT["project"]["dynamic"]
    setuptools = PROJECT["tool"]["setuptools"]
    assert setuptools["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_every_file_that_is_not_a_module_is_packaged():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    packaged = {file for package, patterns in data.items() for pattern in patterns
                for file in (ROOT / package.replace(".", "/")).glob(pattern)}  # fmt: skip
    files = {file for file in (ROOT / "dsh_jax").rglob("*")
             if file.is_file() and file.suffix != ".py" and file.parent.name != "__pycache__"}
    assert files == packaged
