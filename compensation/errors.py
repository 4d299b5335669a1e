"""Errors of workflows.

CompensationError
+-- DefinitionError      a definition cannot run; every problem with its place
+-- StartError           an input that the definition cannot be started with
+-- TransitionError      a transition that the tables do not have: a defect of this package
+-- EffectKeyError       a key that an effect store cannot keep
+-- EffectResultError    a result that an effect store cannot keep
+-- DriverMissingError   an effect store's database driver is not installed
+-- ActivityDefinitionError    what is given as activities cannot be served
ActivityError            what an activity raises to say how it failed
+-- NoEffect             nothing has happened: there is nothing to undo, and no use in trying again
|   +-- UndoneError      an effect store refuses a forward call that came after its undo
+-- NonRetryableError    it may have had an effect, and there is no use in trying again
|   +-- ConstitutionalError    the constitutional hash is not the expected one
"""


class CompensationError(Exception):
    """The base of what this package raises."""


class DefinitionError(CompensationError):
    """A definition that cannot run. `problems` lists every one found, each with its place."""

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"workflow {name!a} cannot run: " + "; ".join(problems))
        self.problems = problems


class StartError(CompensationError):
    """An input that the definition cannot be started with."""


class TransitionError(CompensationError):
    """A transition that the tables do not have: a defect of this package."""


class ActivityError(Exception):
    """The base of what activities raise to say how they failed. Any other exception may be tried again."""


class NoEffect(ActivityError):  # noqa: N818  # the name that activities raise it by
    """Nothing has happened: there is nothing to undo, and no use in trying again."""


class NonRetryableError(ActivityError):
    """It may have had an effect, and there is no use in trying again."""


class ConstitutionalError(NonRetryableError):
    """The constitutional hash is not the expected one."""
