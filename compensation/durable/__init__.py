"""A workflow in the log: rows that survive, decisions on each record, and what they publish. Pure."""
