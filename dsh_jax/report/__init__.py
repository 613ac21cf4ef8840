"""Results to look at: one self-contained page for a run, and runs side by side."""
