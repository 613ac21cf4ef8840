"""What the kinds of codes that results name are."""

_MEANINGS = {
    "synthetic": "learned from triplets with synthetic images",
    "gan_real": "learned from triplets of real images, beside a GAN",
    "real": "learned from triplets of real images, without a GAN",
    "network": "learned by a network without triplets",
    "cnnh": "learned from target codes (CNNH)",
    "cnnh_plus": "learned from target codes and classes (CNNH+)",
    "shttm": "SHTTM as published",
    "shttm_rotated": "SHTTM, rotated",
    "shttm_neural": "neural SHTTM",
    "vdsh": "VDSH",
    "vdsh_supervised": "VDSH-S, supervised",
    "nash": "NASH",
    "nash_supervised": "NASH, supervised",
    "itq": "PCA-ITQ, without labels",
    "lsh": "random hyperplanes",
    "topics": "LDA topics, thresholded",
    "topics_itq": "PCA-ITQ of LDA topics",
    "features_itq": "PCA-ITQ of the network's features",
    "classifier": "the label that the network predicts, written as a code",
    "graded": "the network's class probabilities, written as a code",
}


def meaning(codes: str) -> str:
    """The field `codes` of a result in words; a kind that is not known is shown as it is."""
    return _MEANINGS.get(codes, codes)
