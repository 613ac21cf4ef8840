"""Image data sets, one module for each kind of source."""
