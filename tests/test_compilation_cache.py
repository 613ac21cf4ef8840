"""Programs on disk: the second process compiles nothing, and the folder stays small."""

import os
import subprocess
import sys

import jax
import pytest

from configs import smoke
from dsh_jax import compilation_cache
from dsh_jax.training.experiment import prepare

PROGRAM = """
import jax, jax.numpy as jnp
from dsh_jax import compilation_cache
compilation_cache.enable()
print(float(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones(7))))
"""


def run(program, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


def entries(folder):
    return sorted(path for path in folder.rglob("*-cache"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    run(PROGRAM, XDG_CACHE_HOME=str(folder))
    return folder


def test_programs_are_kept_and_used_again(home):
    kept = entries(home)
    assert kept and all(path.parent.parent == home / "dsh_jax" / "compiled" for path in kept)
    run(PROGRAM, XDG_CACHE_HOME=str(home))
    assert entries(home) == kept


def test_a_damaged_program_is_compiled_again_without_a_word(home):
    for path in entries(home):
        path.write_bytes(path.read_bytes()[:20])
    done = run(PROGRAM, XDG_CACHE_HOME=str(home))
    assert done.stderr == "" and float(done.stdout) == pytest.approx(5.890, abs=0.001)


def test_the_user_may_name_the_folder(tmp_path):
    run(PROGRAM, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"), XDG_CACHE_HOME=str(tmp_path))
    assert entries(tmp_path / "mine") and not (tmp_path / "dsh_jax").exists()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(PROGRAM, XDG_CACHE_HOME=str(tmp_path / "file")).stderr == ""


def test_networks_are_made_in_one_order():
    # A set of names is in another order in every process, and each order is another program.
    method = prepare(smoke.get_config(), None).method
    orders = []

    def names(key):
        orders.append(list(method.init(key).params))

    jax.eval_shape(names, jax.random.key(0))
    first, *others = orders[0]
    assert first == "representation" and len(others) > 2 and others == sorted(others)


def test_the_oldest_programs_go_first(tmp_path):
    for age, name in enumerate("newest middle oldest".split()):
        path = tmp_path / "kind" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    compilation_cache.prune(tmp_path, 200)
    assert sorted(p.name for p in (tmp_path / "kind").iterdir()) == ["middle", "newest"]
    compilation_cache.prune(tmp_path, 200)
    compilation_cache.prune(tmp_path / "absent", 0)
    assert len(list((tmp_path / "kind").iterdir())) == 2
