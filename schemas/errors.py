"""Errors of the contracts.

SchemaError
+-- PolicyError    a policy document is not usable
"""


class SchemaError(ValueError):
    """A document does not keep its contract."""


class PolicyError(SchemaError):
    """A policy document is not usable; the message says where."""
