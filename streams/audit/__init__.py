"""The audit: what the trail of each lane says, held to the log and to what is decided now."""
