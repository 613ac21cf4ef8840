"""The first hour of three new users, from the docs' own commands; each step is checked."""
