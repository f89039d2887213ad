"""The errors of the commands that belong to no single package."""


class CommandError(Exception):
    """Base of the package's errors; `main` prints the text and exits with `exit_code`."""

    exit_code = 1


class UsageError(CommandError):
    """The command line asks for what cannot be."""

    exit_code = 2


class QualityError(CommandError):
    """The demo's own measurement fell below its bounds."""

    exit_code = 3
