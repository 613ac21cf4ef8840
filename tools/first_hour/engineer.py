"""An engineer with a folder of photos and few labels, who wants codes of all of them."""

import json

import numpy as np

from tools.first_hour import made
from tools.first_hour.steps import Steps


def tell(steps: Steps) -> None:
    """Dirty photos, a list with mistakes, training, a new photo, another name, more steps."""
    root = steps.folder / "photos"
    labeled, unlabeled = (20, 20) if steps.small else (40, 100)
    made.photos(root, labeled=labeled, unlabeled=unlabeled)
    sizes = [f"--config.data.cache_dir={steps.folder / 'pixels'}"]
    if steps.small:
        sizes += ["--config.data.image_size=32", "--config.representation.width=8",
                  "--config.batch_size=8", "--config.num_steps=20",
                  "--config.pretraining_steps=10", "--config.eval_every_steps=10",
                  "--config.optimizer.hash.warmup_steps=2"]  # fmt: skip
    else:
        sizes += ["--config.num_steps=60", "--config.pretraining_steps=60",
                  "--config.eval_every_steps=60"]  # fmt: skip
    workdir = steps.folder / "mine"
    told = Steps(steps.folder, steps.small, {"runs/mine": str(workdir), "DIR": str(root)})
    train = (
        "python train.py --config configs/image_folder.py --workdir runs/mine "
        "--config.data.root=DIR"
    )

    told.call(["train.py", "--help"], says=["--config", "--workdir"])
    told.run("README.md", train, "--config.num_step=5", code=2,
             says=["no field num_step; did you mean num_steps?"])  # fmt: skip
    labels = steps.folder / "labels.csv"
    made.list_with_mistakes(labels, root)
    last = len(labels.read_text().splitlines())
    told.run("docs/data.md", f"{train} --config.data.dry_run=True",
             f"--config.data.image_root={root}", *sizes, code=2, places={"DIR": str(labels)},
             says=[f"line {last - 2} has no path", f"line {last - 1} has 4 columns, not 2",
                   f"line {last} names", "as line"])  # fmt: skip

    told.run("docs/data.md", f"{train} --config.data.dry_run=True", *sizes,
             says=["rare", "empty", "nothing.jpg", "cut.jpg", "text.jpg"])  # fmt: skip
    told.run("README.md", train, *sizes, says=["Trained. Next: python eval.py"])
    told.run("README.md", "python eval.py --workdir runs/mine --report", says=["num_items"])
    codes = dict(np.load(workdir / "codes.npz"))
    photos = 3 * labeled + unlabeled + 2
    told.check(len(codes["names"]) == photos, f"each of the {photos} photos has a code")
    told.check("unlabeled/new_000.png" in codes["names"], "photos are known by their names")
    before = json.loads((workdir / "eval.json").read_text())
    if not steps.small:
        told.check(before["map"] > 0.5, f"mAP is {before['map']:.3f}; chance is about 1/3")

    made.photo("squares", 30_000).save(root / "unlabeled/later.png")
    told.run("docs/extending.md", "python eval.py --workdir runs/mine",
             says=["1 item can be found now"])
    codes = dict(np.load(workdir / "codes.npz"))
    told.check("unlabeled/later.png" in codes["names"], "the new photo has a code, too")
    moved = root.rename(steps.folder / "pictures")
    told.call(["eval.py", f"--workdir={workdir}", f"--data_dir={moved}"])
    after = json.loads((workdir / "eval.json").read_text())
    told.check(before["map"] == after["map"], "the measured split and its mAP are the same")
    more = [size for size in sizes if "num_steps=" not in size]
    steps_now = 30 if steps.small else 120
    told.run("README.md", train, *more, f"--config.num_steps={steps_now}",
             places={"DIR": str(moved)}, says=["starting at"])  # fmt: skip
