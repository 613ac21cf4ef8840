"""Settings that keep the suite quick, and the small DSH-GAN that several files share."""

import os

# Nearly all of the suite's time goes into compiling tiny programs: let LLVM not optimise them, and
# compile none twice, not even in the next run of the suite. JAX reads the first two when it is
# first imported, hence not in a fixture; the commands that tests run read all of them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402

from dsh_jax.compilation_cache import MOST_BYTES, machine, prune  # noqa: E402
from dsh_jax.files import user_cache  # noqa: E402

LONGEST = (
    "test_hosts.py", "test_parallel.py", "test_cli.py", "test_unseen.py", "test_sweep.py",
    "test_encoder_evaluation.py", "test_shttm.py", "test_search.py", "test_calls.py",
    "test_resume.py", "test_config_fuzz.py", "test_configs.py", "test_notebooks.py",
)  # fmt: skip
"""Files that take a minute or so each."""

CACHE = user_cache() / "compiled_by_tests"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    folder = CACHE / machine()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))


def pytest_collection_modifyitems(items):
    """The longest files come first, so that no process is left with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_sessionfinish(session):
    """Keeps the cache small; only once, not in each of xdist's workers."""
    if not hasattr(session.config, "workerinput"):
        prune(CACHE, MOST_BYTES)


@pytest.fixture(autouse=True, scope="module")
def _free_programs():
    """Frees compiled programs after each file.

    Each takes several memory maps, and thousands of them reach the 65,530 that Linux allows a
    process by default; loading one more then ends it with a segmentation fault.
    """
    yield
    jax.clear_caches()
