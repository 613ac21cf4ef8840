"""A retrieval researcher with a loss and a metric of their own, three seeds and two lengths."""

import json

from tools.first_hour.steps import Steps, code_block

_SMALL = ("--config.batch_size=8", "--config.unlabeled_batch_size=8", "--config.num_steps=6",
          "--config.pretraining_steps=2", "--config.generator.width=8",
          "--config.representation.width=8", "--config.representation.features=16",
          "--config.eval_every_steps=3", "--config.log_every_steps=1")  # fmt: skip
_SHORT = ("--config.num_steps=100", "--config.pretraining_steps=50",
          "--config.eval_every_steps=50", "--config.log_every_steps=1")  # fmt: skip


def tell(steps: Steps) -> None:
    """A loss with a bug, the same without, a metric, seeds by lengths, and a second start."""
    sizes = _SMALL if steps.small else _SHORT
    loss = steps.folder / "my_losses.py"
    config = steps.folder / "my_config.py"
    config.write_text(code_block("docs/extending.md", "my_config.py"))
    (steps.folder / "my_metrics.py").write_text(code_block("docs/extending.md", "my_metrics.py"))
    places = {"my_config.py": str(config), "runs/mine": str(steps.folder / "own_loss")}
    told = Steps(steps.folder, steps.small, places)
    train = "python train.py --config my_config.py --workdir runs/mine"

    right = code_block("docs/extending.md", "my_losses.py")
    loss.write_text(right.replace("jnp.sum", "jnp.sun", 1))
    told.run("docs/extending.md", train, *sizes, code=2,
             says=["loss.triplet 'my_losses:soft_triplet' fails on", "no attribute 'sun', in line"])
    loss.write_text(right.replace("jnp.sum", "(lambda x: x)"))
    told.run("docs/extending.md", train, *sizes, code=2, says=["let it return one float"])
    loss.write_text(right)
    told.run("docs/extending.md", train, *sizes, "--config.metrics=my_metrics:auc")
    told.run("docs/extending.md", "python eval.py --workdir runs/mine", says=["auc"])

    seeds, lengths = ((0, 1), (8, 12)) if steps.small else ((0, 1, 2), (8, 16))
    workdirs = []
    for bits in lengths:
        for seed in seeds:
            workdirs.append(steps.folder / f"bits{bits}_seed{seed}")
            told.run("docs/comparisons.md",
                     "python train.py --config configs/digits_16bit.py --workdir runs/draw1",
                     *sizes, f"--config.num_bits={bits}", f"--config.seed={seed}",
                     f"--config.data.split_seed={seed}",
                     places={"runs/draw1": str(workdirs[-1])})  # fmt: skip
            told.run("docs/extending.md", "python eval.py --workdir runs/mine",
                     places={"runs/mine": str(workdirs[-1])})  # fmt: skip
    output = steps.folder / "comparison"
    shown = told.call(["eval.py", "--compare", *map(str, workdirs), "--group", "--format=svg",
                       f"--output={output}"], says=["±"])  # fmt: skip
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    told.check(len(rows) == 2 + len(lengths), "the table has a row for each length")
    told.check((output / "map.svg").is_file(), "there is a plot of mAP over bits")
    measured = steps.folder / "measured.json"
    told.run("docs/evaluation.md", "python eval.py --codes mine.npz --result mine.json",
             places={"mine.npz": str(workdirs[0] / "codes.npz"),
                     "mine.json": str(measured)})  # fmt: skip
    found, wanted = (
        json.loads(path.read_text())["map"] for path in (measured, workdirs[0] / "eval.json")
    )
    told.check(found == wanted, "codes from a file have the mAP of their workdir")

    # A length of its own, so that nothing above has compiled it.
    arguments = ["--config=configs/digits_16bit.py", "--config.num_bits=20",
                 "--config.log_every_steps=1"]  # fmt: skip
    first, second = (
        told.seconds_to_first_step(arguments, steps.folder / name) for name in ("start1", "start2")
    )
    print(f"  first step after {first:.1f} s, the second time after {second:.1f} s", flush=True)
    limit = first if steps.small else first / 2
    told.check(second < limit, "the second start is sooner")
