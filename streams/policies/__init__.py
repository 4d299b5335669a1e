"""The policies that ship with the product."""

from importlib.resources import files

from schemas.policy import Policy, from_toml


def default_policy() -> Policy:
    """The policy to begin with: a believable catalogue, three grave targets of every fleet, two tiers of approval."""
    return from_toml(default_policy_text())


def default_policy_text() -> str:
    """The default policy as people read and edit it."""
    return (files(__name__) / "default.toml").read_text(encoding="utf-8")
