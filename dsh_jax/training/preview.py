"""A dry run: what a config would train on, and everything that training would refuse."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from dsh_jax import fields, metrics
from dsh_jax.data import loading
from dsh_jax.data.batches import check_split
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.documents.collections import Documents
from dsh_jax.data.documents.dataset import TextDataset, WordDataset
from dsh_jax.data.documents.topics import check_num_topics
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.splits import drawing
from dsh_jax.data.splits.split import ID_FIELDS, Split
from dsh_jax.data.splits.unseen import of_seen_classes
from dsh_jax.data.vectors.dataset import VectorDataset
from dsh_jax.errors import UserError, UserErrors, as_user_error
from dsh_jax.methods import METHODS
from dsh_jax.pretrained import settings as pretrained
from dsh_jax.report.preview import write_document_preview, write_preview, write_problems
from dsh_jax.training.automatic import settled
from dsh_jax.training.experiment import (
    FIELDS,
    build_method,
    check_data_fields,
    check_validation,
    equip,
    find_recipe,
    signature_of,
)
from dsh_jax.training.workdir import check_same_config


class _Problems(list[str]):
    """What training would refuse, a sentence each."""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Goes on after a mistake."""
        try:
            yield
        except UserErrors as error:
            self.extend([str(error).partition("\n")[0], *error.mistakes])
        except UserError as error:
            if str(error) not in self:
                self.append(str(error))


def preview(config: ConfigDict, workdir: Path) -> tuple[str, list[str]]:
    """Counts and shows the items of a config without training.

    Args:
      config: of an experiment.
      workdir: gets `preview.txt` and, for images, `preview.png`, and nothing else.

    Returns:
      The counts and the files left out, to be printed; and all that training would refuse.
    """
    config = settled(config)
    problems = _Problems()
    fits = _check_fields(config, problems)
    with problems.noted():
        check_same_config(workdir, config)
    if fits:
        with problems.noted():
            pretrained.check(config)
    own: Mapping[str, metrics.Metric] = {}
    with problems.noted():
        own = metrics.find(config.get("metrics", ()))
    dataset, split = None, None
    with problems.noted():
        check_data_fields(config)
        dataset = loading.load_dataset(config.data)
        split = drawing.draw_split(config.data, dataset)
        dataset = loading.fit_inputs(config.data, dataset, split, None)
    if dataset is not None and split is not None and fits:
        _check_the_rest(config, dataset, split, own, problems)
    notes = list(dataset.notes) if dataset is not None else []
    if isinstance(dataset, VectorDataset):
        notes = dataset.remarks()
    if dataset is not None and split is not None:
        notes += drawing.remarks(config.data, dataset, split)
    return _shown(workdir, dataset, split, notes, problems), problems


def _check_fields(config: ConfigDict, problems: _Problems) -> bool:
    """Notes every field that is wrong, where `find_recipe` ends at the first."""
    before = len(problems)
    with problems.noted():
        find_recipe(config)
    if len(problems) > before and config.get("method") in METHODS:
        recipe = METHODS[config.method]
        for name, rule in {**FIELDS, **recipe.network.fields, **recipe.fields}.items():
            with problems.noted():
                fields.check(config, {name: rule})
    if isinstance(config.get("data"), ConfigDict):
        for name, rule in loading.fields_of(config.data).items():
            with problems.noted():
                fields.check(config, {name: rule})
    return len(problems) == before


def _check_the_rest(
    config: ConfigDict,
    dataset: Dataset,
    split: Split,
    own: Mapping[str, metrics.Metric],
    problems: _Problems,
) -> None:
    """What `experiment.prepare` does, but it goes on after a mistake."""
    with problems.noted():
        check_validation(split)
    dataset = of_seen_classes(dataset, split.unseen)
    signature = None
    with problems.noted():
        signature = signature_of(config, dataset)
    if signature is None:
        return
    with problems.noted():
        metrics.try_on(
            own, num_bits=config.num_bits, classes=signature.num_classes,
            multi_label=dataset.multi_label,
        )  # fmt: skip
    method = None
    with problems.noted():
        method = build_method(config, signature)
    if method is None:
        return
    if isinstance(dataset, WordDataset) and (method.fit or method.learn_targets):
        with problems.noted(), as_user_error():
            check_num_topics(dataset.counts[split.training], config.num_bits)
    for stage in method.stages:
        with problems.noted():
            check_split(dataset, split, stage.batch)
    with problems.noted():
        equip(config, method, signature)


def _shown(
    workdir: Path,
    dataset: Dataset | None,
    split: Split | None,
    notes: list[str],
    problems: list[str],
) -> str:
    """Writes what there is to see, and returns the text."""
    parts: dict[str, np.ndarray] = {}
    if split is not None:
        parts = {role: getattr(split, role) for role in ID_FIELDS}
    if isinstance(dataset, Documents):
        words = dataset if isinstance(dataset, TextDataset) else None
        text = write_document_preview(workdir, dataset, words, parts, problems=problems)
    elif isinstance(dataset, WordDataset):
        text = write_preview(
            workdir, images=None, labels=dataset.labels, class_names=dataset.class_names,
            parts=parts, notes=[*dataset.remarks(), *notes], problems=problems, items="documents",
        )  # fmt: skip
    elif isinstance(dataset, ImageDataset):
        text = write_preview(
            workdir, images=dataset.images, labels=dataset.labels,
            class_names=dataset.class_names, parts=parts,
            notes=notes, skipped=getattr(dataset, "skipped", ()), problems=problems,
        )  # fmt: skip
        text += f"\n\nThumbnails: {workdir / 'preview.png'}"
    elif isinstance(dataset, VectorDataset):
        text = write_preview(
            workdir, images=None, labels=dataset.labels, class_names=dataset.class_names,
            parts=parts, notes=notes, problems=problems, items="vectors",
        )  # fmt: skip
    else:
        write_problems(workdir, problems)
        return "Nothing can be shown."
    return text
