"""Receipts: one message's story out of the log, for somebody who has nothing else, and the check of one."""
