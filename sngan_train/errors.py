"""The errors of this package. Their text is written for the person who can act on it."""


class TrainError(Exception):
    """Base of the package's errors; the command line prints the text and exits with `exit_code`."""

    exit_code = 1


class ConfigError(TrainError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(TrainError):
    """A data source is missing, empty, or holds something that cannot be trained on."""


class CheckpointError(TrainError):
    """A checkpoint is missing, damaged, of an unknown format, or does not fit what it is asked for."""


class DivergenceError(TrainError):
    """A loss stopped being a finite number."""
