"""Deliberation: what is held waits for enough signatures of those entitled, and is released once, or denied."""
