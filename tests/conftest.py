"""Settings that keep the suite quick, and the small DSH-GAN that several files share."""

import atexit
import os
import shutil
import tempfile

# Nearly all of the suite's time goes into compiling tiny programs: let LLVM not optimise them, and
# compile none twice. JAX reads all of this when it is first imported, hence not in a fixture.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="jax_cache_")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _free_programs():
    """Frees compiled programs after each file.

    Each takes several memory maps, and thousands of them reach the 65,530 that Linux allows a
    process by default; loading one more then ends it with a segmentation fault.
    """
    yield
    jax.clear_caches()
