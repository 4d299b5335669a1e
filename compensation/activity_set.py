"""The activities that a worker serves: found in what a user gives, each under a name of its own."""

import inspect
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import NamedTuple, cast

from compensation.activities import MARK, ActivityDefinitionError, ActivityFunction, BaseActivities, place_of


class Registered(NamedTuple):
    """An activity under its name. `owner` validates the hash before it; `place` says where it is defined."""

    name: str
    function: ActivityFunction
    owner: BaseActivities
    place: str


ActivitySet = Mapping[str, Registered]
"""What a worker serves, by name."""


def collect(*sources: object) -> ActivitySet:
    """The activities of modules, functions, BaseActivities (classes or instances), and of collections of these.

    Of a module: every marked function that it defines or imports, every instance of a BaseActivities, and every such
    class that it defines itself, unless it has an instance of it. A class is called without arguments.

    Raises:
        ActivityDefinitionError: there is none, one is no activity, a class cannot be called without arguments, or two
            have the same name.
    """
    plain, found = BaseActivities(), dict[str, Registered]()
    for one in sources:
        for registered in _of(one, plain):
            before = found.setdefault(registered.name, registered)
            if before.function != registered.function:
                raise ActivityDefinitionError(
                    f"two activities are named {registered.name!a}: {before.place} and {registered.place}. Rename one, "
                    'for instance with @activity(name="...")'
                )
    if not found:
        raise ActivityDefinitionError(
            f"{', '.join(map(_named, sources)) or 'nothing'} has no activities: mark async functions, or methods of a "
            "BaseActivities, with @activity"
        )
    return found


def _of(source: object, plain: BaseActivities) -> Iterable[Registered]:
    if isinstance(source, ModuleType):
        return _all_of(_members(source), plain)
    if inspect.isclass(source) and issubclass(source, BaseActivities):
        return _methods(_made(source))
    if isinstance(source, BaseActivities):
        return _methods(source)
    if hasattr(source, MARK):
        function = cast("ActivityFunction", source)
        owner = getattr(source, "__self__", plain)
        return [_registered(function, owner if isinstance(owner, BaseActivities) else plain)]
    if isinstance(source, Mapping):
        return _all_of(cast("Mapping[object, object]", source).values(), plain)
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        return _all_of(cast("Iterable[object]", source), plain)
    raise ActivityDefinitionError(f"{_named(source)} is no activity: mark an async function with @activity")


def _all_of(sources: Iterable[object], plain: BaseActivities) -> list[Registered]:
    return [registered for source in sources for registered in _of(source, plain)]


def _members(module: ModuleType) -> list[object]:
    members = list(vars(module).values())
    instances = [one for one in members if isinstance(one, BaseActivities)]
    functions = [one for one in members if hasattr(one, MARK) and inspect.isroutine(one)]
    classes = [
        one
        for one in members
        if inspect.isclass(one)
        and issubclass(one, BaseActivities)
        and one.__module__ == module.__name__
        and _marked(one)
        and not any(type(instance) is one for instance in instances)
    ]
    return [*functions, *instances, *classes]


def _made(class_: type[BaseActivities]) -> BaseActivities:
    try:
        return class_()
    except TypeError as error:
        raise ActivityDefinitionError(
            f"{place_of(class_)} cannot be made without arguments ({error}): make an instance in its module"
        ) from error


def _marked(class_: type[BaseActivities]) -> list[str]:
    """The attributes that are activities, the nearest override of each."""
    return [name for name in dir(class_) if hasattr(inspect.getattr_static(class_, name), MARK)]


def _methods(owner: BaseActivities) -> list[Registered]:
    return [_registered(getattr(owner, name), owner) for name in _marked(type(owner))]


def _registered(function: ActivityFunction, owner: BaseActivities) -> Registered:
    return Registered(getattr(function, MARK), function, owner, place_of(function))


def _named(source: object) -> str:
    if isinstance(source, ModuleType):
        return f"module {source.__name__}"
    return place_of(source) if inspect.isclass(source) or inspect.isroutine(source) else f"{source!a:.80}"
