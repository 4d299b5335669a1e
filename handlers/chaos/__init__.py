"""Decisions on chaos: what may be done, for how long, and how it ends."""
