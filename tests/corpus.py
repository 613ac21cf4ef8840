"""A small corpus that several tests share: three subjects, each with words of its own."""

import json

import numpy as np

from configs import nash, shttm, shttm_neural, vdsh
from dsh_jax.data.documents.collections import Documents, load_documents

SUBJECTS = {
    "fruit": "apple banana cherry melon orange papaya quince raisin",
    "metal": "copper iron lead nickel silver tin zinc brass",
    "music": "cello drum fiddle guitar harp oboe piano viola",
}
TAGS = tuple(SUBJECTS)


def lines(n=150, seed=0):
    """JSONL: one or two subjects each, some without tags, the last tenth for testing."""
    rng = np.random.default_rng(seed)
    made = []
    for row in range(n):
        tags = sorted(rng.choice(TAGS, size=1 + (rng.random() < 0.2), replace=False).tolist())
        words = [word for tag in tags for word in rng.choice(SUBJECTS[tag].split(), 6)]
        words += rng.choice(["daily", "report", "price", "year"], 2).tolist()
        is_test = row >= n * 9 // 10
        kept = [] if row % 15 == 7 and not is_test else tags
        made.append({"id": row, "text": " ".join(words), "tags": kept, "test": bool(is_test)})
    made[3]["text"] = "1234 ..."  # no word at all
    made[-1]["text"] = "unheard words"  # none that training has
    made[-2]["tags"] = ["unseen"]  # a tag that training has not
    return made


def write(path, rows=None):
    """Writes rows, or `lines()`, as JSONL and returns the path."""
    text = "".join(json.dumps(row) + "\n" for row in (lines() if rows is None else rows))
    path.write_text(text)
    return path


def config(path, method="shttm", num_bits=6):
    """A config for this corpus: seconds on one CPU core."""
    if method in ("vdsh", "nash"):
        module = vdsh if method == "vdsh" else nash
        config = module.get_config("jsonl", num_bits, supervised=True)
    else:
        module = shttm if method == "shttm" else shttm_neural
        config = module.get_config("jsonl", num_bits)
    config.data.data_dir = str(path)
    config.data.min_documents = 1
    config.data.max_share = 1.0
    config.data.validation_share = 0.2
    config.topics.cache = ""
    config.topics.iterations = 3
    config.encode_batch_size = 64
    if method != "shttm":
        config.batch_size, config.unlabeled_batch_size, config.num_steps = 32, 4, 4
        config.encoder.hidden = 16
        config.log_every_steps, config.eval_every_steps = 2, 3
    if method == "shttm_neural":
        config.decoder.hidden = 8
    return config


def load(folder):
    """The corpus as documents."""
    return load_documents("jsonl", write(folder / "corpus.jsonl"))


def documents(texts):
    """Texts as documents of one tag."""
    n = len(texts)
    return Documents(
        name="made", version="1", names=tuple(map(str, range(n))), texts=tuple(texts),
        labels=np.zeros(n, np.int32), is_test=np.zeros(n, bool), class_names=("a",),
    )  # fmt: skip
