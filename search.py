"""Searches codes: `python search.py VERB --help`.

`index` fills an index from images, documents or codes; `query` asks it; `add`, `delete`, `info`,
`check` and `compact` keep it; `encode` makes parts of an index in several processes; `serve`
answers over HTTP, with a page; `export` writes a model for programs without this package.
"""

# ruff: noqa: E402
from dsh_jax import interrupt

interrupt.stop_at_once()  # before anything that is slow to import

import sys

from dsh_jax.search.command import main

if __name__ == "__main__":
    main(sys.argv[1:])
