"""Data sets of images and documents, their splits, and the batches drawn from the splits."""
