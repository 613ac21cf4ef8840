"""A dry run: what a config would train on, without training."""

from pathlib import Path

from ml_collections import ConfigDict

from dsh_jax.data import loading
from dsh_jax.data.images.dataset import ImageDataset
from dsh_jax.data.splits.split import ID_FIELDS
from dsh_jax.errors import UserError
from dsh_jax.report.preview import write_preview
from dsh_jax.training.experiment import check_data_fields


def preview(config: ConfigDict, workdir: Path) -> str:
    """Counts and shows the images of a config without training.

    Args:
      config: of an experiment.
      workdir: gets `preview.txt` and `preview.png`, and nothing else.

    Returns:
      The counts and the files left out, to be printed.

    Raises:
      UserError: the data is not images, or is missing or damaged.
    """
    check_data_fields(config)
    dataset = loading.load_dataset(config.data)
    if not isinstance(dataset, ImageDataset):
        raise UserError(f"data.dry_run shows images, and {dataset.name} has none; set it to False.")
    parts, problem = {}, ""
    try:
        split = loading.draw_split(config.data, dataset)
        parts = {role: getattr(split, role) for role in ID_FIELDS}
    except UserError as error:  # the images may show the cause
        problem = f"\n\nThere is no split yet: {error}"
    text = write_preview(
        workdir, images=dataset.images, labels=dataset.labels, class_names=dataset.class_names,
        parts=parts, skipped=getattr(dataset, "skipped", ()),
    )  # fmt: skip
    return f"{text}{problem}\n\nThumbnails: {workdir / 'preview.png'}"
