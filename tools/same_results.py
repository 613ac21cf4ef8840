"""Compares runs of two versions: are metrics and codes bitwise the same?

    python -m tools.same_results BEFORE AFTER

BEFORE and AFTER are folders of workdirs, trained and evaluated by `train.py` and `eval.py` of the
two versions with the same commands on one machine. Prints a line per workdir, and exits 1 if
any differs. Only times may differ: `seconds` and `steps_per_second` in metrics.jsonl.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

TIMES = ("seconds", "steps_per_second")


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, without times."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def differences(before: Path, after: Path) -> list[str]:
    """The differences between two workdirs, in words; empty if there are none.

    Metrics that only one version writes do not count.
    """
    found = []
    for one, other in zip(metrics(before), metrics(after), strict=True):
        found += [
            f"{name} at step {one['step']}: {one[name]!r} before, {other[name]!r} after"
            for name in one.keys() & other.keys()
            if one[name] != other[name]
        ]
    with np.load(before / "codes.npz") as old, np.load(after / "codes.npz") as new:
        found += [name for name in old.files if not np.array_equal(old[name], new[name])]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Compares all workdirs that both folders hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    names = sorted(path.parent.name for path in options.before.glob("*/codes.npz"))
    if not names:
        parser.error(f"{options.before} holds no evaluated workdirs")
    any_differs = False
    for name in names:
        before, after = options.before / name, options.after / name
        if not (after / "codes.npz").exists():
            found = [f"{after} was not evaluated"]
        else:
            found = differences(before, after)
        any_differs |= bool(found)
        print(f"{name}: {'; '.join(found[:3]) if found else 'bitwise the same'}")
    return int(any_differs)


if __name__ == "__main__":
    sys.exit(main())
