"""Reports: one self-contained page per run, comparisons of runs, and previews of a data set."""
