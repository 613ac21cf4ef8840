"""tools/gpu_results.sh: the full-size rows in parts. The rows themselves need a GPU."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(folder, **environment):
    return subprocess.run(
        [folder / "tools/gpu_results.sh"], env=os.environ | environment, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


def copy(folder):
    (folder / "tools").mkdir()
    (folder / "results").mkdir()
    (folder / "tools/gpu_results.sh").write_text((ROOT / "tools/gpu_results.sh").read_text())
    (folder / "tools/gpu_results.sh").chmod(0o755)
    calls = '#!/usr/bin/env bash\necho "$@" >> calls\ntouch "results/$1_graded_draw$3.json"\n'
    (folder / "tools/run.sh").write_text(calls)
    (folder / "tools/run.sh").chmod(0o755)
    return folder


def test_an_unknown_row_is_refused():
    done = run(ROOT, ROWS="nonsense")
    assert done.returncode == 2
    assert done.stderr == "error: ROWS has 'nonsense'; give some of paper, control, best.\n"


def test_every_row_is_run_once(tmp_path):
    folder = copy(tmp_path)
    (folder / "results/gpu_cifar10_12bit_paper_graded_draw0.json").touch()
    done = run(folder, BITS="12 24")
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls").read_text().splitlines()
    control = "--config.gan=False --config.triplets=real"
    assert calls == [
        "gpu_cifar10_12bit_best cifar10_48bit_best.py 0 --config.num_bits=12",
        f"gpu_cifar10_12bit_control cifar10.py:12 0 {control}",
        "gpu_cifar10_24bit_best cifar10_48bit_best.py 0 --config.num_bits=24",
        "gpu_cifar10_24bit_paper cifar10.py:24 0",
        f"gpu_cifar10_24bit_control cifar10.py:24 0 {control}",
    ]
    run(folder, BITS="12 24")
    assert len((folder / "calls").read_text().splitlines()) == 5


def test_time_runs_out(tmp_path):
    folder = copy(tmp_path)
    (folder / "tools/run.sh").write_text("#!/usr/bin/env bash\nexec sleep 60\n")
    source = (folder / "tools/gpu_results.sh").read_text()
    assert "60 * ${MINUTES:-8}" in source
    (folder / "tools/gpu_results.sh").write_text(source.replace("60 * ${MINUTES:-8}", "1"))
    done = run(folder)
    assert done.returncode == 124
    assert done.stdout.endswith("Time is up; run it again to go on.\n")
