"""Past traffic decided once more under another policy, into topics of its own, and what would change."""
