"""Activity workers: they take commands from a queue, run the user's functions for them, and answer each."""
