"""Attacks on training and evaluation: kills, flipped bits, races and absurd configs."""
