"""Chaos: what holds is found out by breaking things on purpose, within bounds, and putting all of it right again."""
