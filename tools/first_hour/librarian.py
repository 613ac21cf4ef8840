"""A librarian with a file of documents, tagged and not."""

import json

import numpy as np

from tools.first_hour import made
from tools.first_hour.steps import Steps


def tell(steps: Steps) -> None:
    """A file with mistakes, a dry run, training, a new document, another name of the file."""
    file, wrong = steps.folder / "documents.jsonl", steps.folder / "wrong.jsonl"
    made.documents(file, 150)
    made.documents_with_mistakes(wrong)
    workdir = steps.folder / "documents"
    told = Steps(steps.folder, steps.small, {"runs/reuters": str(workdir), "DIR": str(file)})
    train = (
        "python train.py --config configs/shttm_reuters_32bit.py --workdir runs/reuters "
        "--config.data.data_dir=DIR"
    )
    own = ["--config.data.source=jsonl", "--config.data.query_share=0.1", "--config.num_bits=8",
           f"--config.topics.cache={steps.folder / 'topics'}"]  # fmt: skip

    told.run("docs/data.md", train, *own, "--config.data.dry_run=True", code=2,
             places={"DIR": str(wrong)},
             says=["line 2", "line 3", "UTF-8", "line 4", "line 5", "line 6",
                   "repeats the id"])  # fmt: skip
    told.run("docs/data.md", train, *own, "--config.data.dry_run=True",
             says=["astronomy", "(no tag)"])  # fmt: skip
    told.run("docs/data.md", train, *own)
    told.run("docs/data.md", "python eval.py --workdir runs/reuters --report")
    codes = dict(np.load(workdir / "codes.npz"))
    told.check(len(codes["names"]) == 150, "each document has a code, tagged or not")
    before = json.loads((workdir / "eval.json").read_text())
    told.check(before["map"] > 0.5, f"mAP is {before['map']:.3f}; chance is about 1/3")

    with file.open("a") as lines:
        lines.write(json.dumps({"id": "later", "text": "star comet galaxy moon"}) + "\n")
    moved = file.rename(steps.folder / "catalogue.jsonl")
    told.call(["eval.py", f"--workdir={workdir}", f"--data_dir={moved}"],
              says=["1 item can be found now"])
    told.check("later" in dict(np.load(workdir / "codes.npz"))["names"], "the new one has a code")
    after = json.loads((workdir / "eval.json").read_text())
    told.check(before["map"] == after["map"], "the measured split and its mAP are the same")
