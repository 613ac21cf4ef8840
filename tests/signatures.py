"""Signatures of made-up data, and methods built for them."""

from dsh_jax.data.signature import ImageInputs, Signature
from dsh_jax.methods.base import kept_variables
from dsh_jax.training.experiment import build_method


def image_signature(shape, num_classes, labels="single"):
    names = tuple(map(str, range(num_classes)))
    return Signature(ImageInputs(*shape), labels, names)


def build_for_images(config, shape, num_classes):
    """The method of a config, its fields checked; labels are as the config says."""
    labels = "multi" if config.loss.labels == "multi" else "single"
    return build_method(config, image_signature(shape, num_classes, labels))


def classify(method, state, inputs):
    return method.network.classify(kept_variables(state), inputs)
