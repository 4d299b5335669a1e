"""The line of those that are due and wait for a place: first in, first out, the lowest priority number first.

Entries are linked, so that joining, leaving and taking the first cost the same however many wait. Places are as many as
there are lines, hence priorities in use, at most 100.
"""

from bisect import bisect_left

from handlers.recovery.progress import Progress
from handlers.recovery.rows import PLACES, Line, Waiting, waiting_key


def join(progress: Progress, service: str, priority: int) -> None:
    """Puts a service at the end of the line of its priority."""
    places = progress.places()
    at = bisect_left(places.lines, priority, key=lambda line: line.priority)
    line = places.lines[at] if at < len(places.lines) else None
    if line is None or line.priority != priority:
        progress.keep(waiting_key(service), Waiting(priority))
        lines = (*places.lines[:at], Line(priority, service, service), *places.lines[at:])
    else:
        progress.keep(waiting_key(service), Waiting(priority, before=line.last))
        progress.keep(waiting_key(line.last), _linked(progress, line.last)._replace(after=service))
        lines = (*places.lines[:at], line._replace(last=service), *places.lines[at + 1 :])
    progress.keep(PLACES, places._replace(lines=lines))


def leave(progress: Progress, service: str) -> None:
    """Takes a service out of the line; nothing if it does not wait."""
    waiting = progress.waiting(service)
    if waiting is None:
        return
    progress.forget(waiting_key(service))
    if waiting.before is not None:
        before = _linked(progress, waiting.before)
        progress.keep(waiting_key(waiting.before), before._replace(after=waiting.after))
    if waiting.after is not None:
        after = _linked(progress, waiting.after)
        progress.keep(waiting_key(waiting.after), after._replace(before=waiting.before))
    places = progress.places()
    if waiting.before is None or waiting.after is None:
        lines = tuple(
            changed
            for line in places.lines
            if (changed := _without(line, waiting) if line.priority == waiting.priority else line) is not None
        )
        progress.keep(PLACES, places._replace(lines=lines))


def first(progress: Progress) -> str | None:
    """Who gets the next place."""
    lines = progress.places().lines
    return lines[0].first if lines else None


def _without(line: Line, gone: Waiting) -> Line | None:
    """The line once its first, its last, or the only one in it is gone."""
    head = line.first if gone.before is not None else gone.after
    tail = line.last if gone.after is not None else gone.before
    return None if head is None or tail is None else Line(line.priority, head, tail)


def _linked(progress: Progress, service: str) -> Waiting:
    waiting = progress.waiting(service)
    if waiting is None:
        raise RuntimeError(f"{service!a} is linked to, and does not wait")
    return waiting
