"""`acgs audit`: what was decided, found, told and proven again, from the topics."""

from typing import Final

import click

from streams.cli.lazy import Entry, LazyGroup

ENTRIES: Final = {
    "verify": Entry("streams.cli.audit_verify", "verify", "Read everything again, decide everything again, compare."),
    "index": Entry(
        "streams.cli.audit_search", "index", "Build the index of search and explain, or bring it up to date."
    ),
    "search": Entry("streams.cli.audit_search", "search", "Find decisions by what they are about."),
    "explain": Entry("streams.cli.audit_explain", "explain", "Tell the story of one message, item or workflow."),
    "hashes": Entry("streams.cli.audit_hashes", "hashes", "Print the hashes that records leave when they are erased."),
}


@click.group(cls=LazyGroup, entries=ENTRIES)
def audit() -> None:
    r"""Take every decision again from the topics, and say what differs.

    \b
    Example:
      acgs audit verify
      acgs audit search --verdict rejected
      acgs audit explain 7d0c1f6e
    """
