"""Which files a command writes, moves or removes, by what is known of its program."""

from itertools import pairwise

from handlers.command_line import Command
from handlers.programs import arguments_of
from handlers.words import word_set

EVERYTHING = word_set("/ /* ~ ~/ ~/* $HOME $HOME/ $HOME/* * ./* . .. ../* /. ./")
"""Arguments that mean all there is at a place."""

HARMLESS_DEVICES = word_set("/dev/null /dev/stdout /dev/stderr /dev/tty")
"""Devices that keep nothing of what is written to them."""

_ALL = word_set("touch mkdir rm rmdir unlink shred tee truncate mv patch gzip gunzip vim vi nano ed split wipe srm")
_LAST = word_set("cp ln install rsync scp")
_AFTER_FIRST = word_set("chmod chown chgrp setfacl chattr")
_IN_PLACE = frozenset({"-i", "--in-place", "-pi"})
_OUTPUT_FLAGS: dict[str, tuple[str, ...]] = {
    "curl": ("-o", "--output"),
    "wget": ("-O", "--output-document"),
    "pip": ("--target",),
    "tar": ("-C",),
}


def changed_by(command: Command) -> tuple[str, ...]:
    """The paths that a command changes, redirections included, from the folder a `cd` went to."""
    paths = (*command.writes, *changed_by_arguments(command))
    return tuple(path_in(command.folder, path) for path in paths if path not in HARMLESS_DEVICES)


def changed_by_arguments(command: Command) -> tuple[str, ...]:
    """Those of a command's arguments that name what it changes."""
    program, words = command.program, command.words
    plain, flags = arguments_of(program, words[1:])
    if program in _ALL:
        return tuple(plain)
    if program in _LAST:
        return tuple(plain[-1:])
    if program in _AFTER_FIRST or (program in {"sed", "perl"} and flags & _IN_PLACE):
        return tuple(plain[1:])
    if program == "git":
        return _changed_by_git(words, plain)
    return tuple(plain[:1]) if program == "find" and "-delete" in words else _outputs(program, words)


def _changed_by_git(words: tuple[str, ...], plain: list[str]) -> tuple[str, ...]:
    if plain[:1] in (["rm"], ["mv"], ["restore"]):
        return tuple(plain[1:])
    return words[words.index("--") + 1 :] if "--" in words and plain[:1] == ["checkout"] else ()


def _outputs(program: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """What stands after the flags that name an output, `--flag FILE` and `--flag=FILE`."""
    flags = _OUTPUT_FLAGS.get(program, ())
    joined = (word.partition("=") for word in words)
    return (
        *(following for word, following in pairwise(words) if word in flags),
        *(value for name, equals, value in joined if equals and name in flags),
    )


def path_in(folder: str, path: str) -> str:
    """The path from the folder a `cd` went to, without its `.` and `..`."""
    if not path or path in EVERYTHING:
        return path
    if not folder and "/." not in path and "//" not in path and not path.startswith("./"):
        return path
    return _plain(f"{folder}/{path}" if folder and not path.startswith(("/", "~", "$")) else path)


def _plain(path: str) -> str:
    """The path without empty parts, `.` and `..`; posixpath.normpath differs between Pythons on null characters."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif part not in {"", "."}:
            kept.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(kept) + ("/" if path.endswith("/") and kept else "")
