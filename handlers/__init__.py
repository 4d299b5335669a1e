"""What is decided: pure functions of their arguments. No I/O, clock, randomness or environment."""
