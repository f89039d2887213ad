"""The errors of this package. Their text is written for the person who can act on it."""


class ExportError(Exception):
    """Base of the package's errors; the command line prints the text and exits with `exit_code`."""

    exit_code = 1


class OptionError(ExportError):
    """An option of the export cannot be used, with this model or at all."""

    exit_code = 2


class OutputExistsError(ExportError):
    """The output folder is already there."""

    exit_code = 2


class VerificationError(ExportError):
    """Two forms of one generator differ by more than their tolerance, or a form holds what it must not."""

    exit_code = 3
