"""The errors of this package. Their text is written for the person who can act on it."""


class ServeError(Exception):
    """Base of the package's errors; the command line prints the text and exits with `exit_code`."""

    exit_code = 1


class ConfigError(ServeError, ValueError):
    """A setting of the server is impossible or unsafe: a fault of the command's usage."""

    exit_code = 2


class JavaNotFoundError(ServeError):
    """No Java that can run TorchServe was found."""


class ModelFileError(ServeError):
    """What was given to be served is no archive or generator that can be served."""


class StartError(ServeError):
    """TorchServe did not start, or its worker did not load the model."""


class ServerStoppedError(ServeError):
    """TorchServe ended without being asked to."""


class UnreachableError(ServeError):
    """Nothing answered at an address, or not in time."""


class NotReadyError(ServeError):
    """A server was asked about its health and would not answer a request now."""


class ManagementError(ServeError):
    """TorchServe refused what its management was asked to do."""


class ReloadError(ServeError):
    """A new model was not taken; the old one still serves."""
