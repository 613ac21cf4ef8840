"""Deep semantic hashing in JAX/Flax: short binary codes that keep meaning.

What most users call is named here, and is imported when it is first used; `import dsh_jax` alone
imports neither JAX nor anything else that is slow.

- `load_encoder(workdir)`: a trained `Encoder`, from images or documents to codes.
- `evaluate(...)`: how good codes are, exact about ties, whatever made them.
- `hamming`: packing, unpacking and distances of codes.
- `train(config, workdir, run)` and `evaluate_workdir(workdir)`: what `train.py` and `eval.py` call.
- `UserError`: the one exception that a user's mistake raises.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsh_jax import hamming
    from dsh_jax.encoder import Encoder, load_encoder
    from dsh_jax.errors import UserError
    from dsh_jax.evaluation import evaluate_workdir
    from dsh_jax.retrieval import evaluate
    from dsh_jax.training.loop import train

__version__ = "0.2.0"
__all__ = [
    "Encoder",
    "UserError",
    "evaluate",
    "evaluate_workdir",
    "hamming",
    "load_encoder",
    "train",
]

_MODULES = {
    "Encoder": "dsh_jax.encoder",
    "UserError": "dsh_jax.errors",
    "evaluate": "dsh_jax.retrieval",
    "evaluate_workdir": "dsh_jax.evaluation",
    "hamming": "dsh_jax",
    "load_encoder": "dsh_jax.encoder",
    "train": "dsh_jax.training.loop",
}

if not TYPE_CHECKING:  # a type checker would take it for a promise of any name at all

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if _MODULES[name] == __name__:
            return importlib.import_module(f"{__name__}.{name}")
        value = getattr(importlib.import_module(_MODULES[name]), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
