"""`import dsh_jax`: names what there is, and is fast."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import dsh_jax

SLOW = ("jax", "flax", "optax", "orbax", "numpy", "scipy", "sklearn", "matplotlib", "PIL")
# The modules of a checkout: a name whose module it does not have cannot be tested.
THERE = [name for name, module in dsh_jax._MODULES.items() if importlib.util.find_spec(module)]


def python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_alone_loads_nothing_slow():
    code = "import sys, dsh_jax; dir(dsh_jax); dsh_jax.UserError; dsh_jax.__version__"
    assert python(f"{code}; print([name for name in {SLOW} if name in sys.modules])") == "[]"


def test_a_name_is_imported_when_it_is_used():
    code = "import sys; from dsh_jax import hamming; import dsh_jax as d"
    assert python(f"{code}; print('jax' in sys.modules, hamming is d.hamming)") == "True True"


@pytest.mark.parametrize("name", THERE)
def test_every_name_is_what_its_module_has(name):
    place = dsh_jax._MODULES[name]
    wanted = (importlib.import_module(f"dsh_jax.{name}") if place == "dsh_jax"
              else getattr(importlib.import_module(place), name))  # fmt: skip
    assert getattr(dsh_jax, name) is wanted


def test_all_who_list_the_names_agree():
    assert dsh_jax.__all__ == sorted(dsh_jax._MODULES)
    assert set(dsh_jax.__all__) <= set(dir(dsh_jax))
    imports = {alias.name: node.module
               for node in ast.walk(ast.parse(Path(dsh_jax.__file__).read_text()))
               if isinstance(node, ast.ImportFrom) and node.module.startswith("dsh_jax")
               for alias in node.names}  # fmt: skip
    assert imports == dsh_jax._MODULES
    assert {"evaluate", "hamming", "train", "UserError", "evaluate_workdir"} <= set(THERE)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="'dsh_jax' has no attribute 'evaluator'"):
        dsh_jax.evaluator  # noqa: B018
    with pytest.raises(ImportError, match="evaluator"):
        from dsh_jax import evaluator  # noqa: F401
