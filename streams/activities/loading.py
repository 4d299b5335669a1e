"""Finding the activities that a user names: a module, or something in it."""

import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from compensation.activities import ActivityDefinitionError
from compensation.activity_set import ActivitySet, collect
from streams.errors import SettingsError


def load(named: str) -> ActivitySet:
    """The activities of `MODULE`, or of `MODULE:NAME`; the working folder is looked in first.

    NAME is a function marked with @activity, a subclass or an instance of BaseActivities, or a collection of these.

    Raises:
        SettingsError: there is no such module or name, it cannot be imported, or it has no activities that can be
            served; the message says what to change.
    """
    module_name, _, name = named.partition(":")
    try:
        module = _imported(module_name)
        return collect(_attribute(module, name) if name else module)
    except ActivityDefinitionError as error:
        raise SettingsError(str(error)) from error


def _imported(name: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ActivityDefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _broken(name, error) from error
        hint = ". Name it as Python imports it, without .py" if name.endswith(".py") or os.sep in name else ""
        raise SettingsError(
            f"there is no module {name!a}; looked in {folder} and where Python is installed{hint}"
        ) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> SettingsError:
    """What is wrong with a module, and the line of it that fails."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    words = "".join(traceback.format_exception_only(error)).strip()
    return SettingsError(f"module {name!a} cannot be imported: {words} ({last.filename}:{last.lineno})")


def _attribute(module: ModuleType, name: str) -> object:
    if not hasattr(module, name):
        raise SettingsError(f"module {module.__name__} has no {name!a}: name a class, an instance or a list in it")
    return getattr(module, name)
