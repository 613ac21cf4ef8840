"""Images: sources, decoding, caching and augmentation."""
