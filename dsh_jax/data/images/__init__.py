"""Images: where they come from, how they are read, kept and augmented."""
