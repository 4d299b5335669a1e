"""The notary: trees over the audit records, and checkpoints of them under a key that workers do not have."""
