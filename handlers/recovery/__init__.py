"""Recovery: when a service's breaker opens, attempts to bring it back come when they are due, a few at a time."""
