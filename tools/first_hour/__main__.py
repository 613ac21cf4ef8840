"""The first hour of three new users, from the docs' own commands; each step is checked.

    python -m tools.first_hour [--small] [--folder DIR] [engineer researcher librarian]

Makes dirty photos, a CSV file and JSONL files with each mistake, and a loss with a bug; trains,
evaluates and compares; adds a file and renames the folder. Stops at the first step that does not do
what the docs say.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tools.first_hour import engineer, librarian, researcher
from tools.first_hour.steps import Failed, Steps

STORIES = {"engineer": engineer, "researcher": researcher, "librarian": librarian}


def main() -> int:
    """Tells the stories; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.first_hour", description=__doc__)
    parser.add_argument("stories", nargs="*", help=", ".join(STORIES) + "; all if not given")
    parser.add_argument("--small", action="store_true", help="sizes of a test")
    parser.add_argument("--folder", type=Path, help="keeps everything there, for a look")
    options = parser.parse_args()
    unknown = set(options.stories) - STORIES.keys()
    if unknown:
        parser.error(f"there is no story {', '.join(sorted(unknown))}; name {', '.join(STORIES)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        for name in options.stories or STORIES:
            print(f"== {name}", flush=True)
            place = folder.resolve() / name
            place.mkdir(parents=True)
            try:
                STORIES[name].tell(Steps(place, options.small, {}))
            except Failed as failed:
                print(f"FAILED: {failed}", file=sys.stderr)
                return 1
    print("Every step did what the docs say.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
