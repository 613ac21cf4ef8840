"""Documents: collections, their words, their topics."""
