"""The losses that ship, each a function of one sample: `images` and `documents`."""
