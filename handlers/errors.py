"""The errors of this package. Their text is written for the person who can act on it."""

import dataclasses
from collections.abc import Sequence


class HandlersError(Exception):
    """Base of the package's errors; the command line prints the text and exits with `exit_code`."""

    exit_code = 1


class GeneratorFileError(HandlersError):
    """A generator file is missing, is no ONNX file, or carries no metadata that this version understands."""


class ProviderError(HandlersError):
    """An ONNX Runtime execution provider was asked for and did not load."""


class PictureError(HandlersError):
    """A picture was to say how it was made, and does not."""


class LatentError(HandlersError, ValueError):
    """Latents were asked for that the model's distribution does not have."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """What is wrong with one field of a request.

    Attributes:
        field: the field's name, or "body", "accept", "content-type" for what is no field.
        reason: what was given and why it cannot be taken.
        allowed: what would be taken.
    """

    field: str
    reason: str
    allowed: str


class RequestError(HandlersError):
    """One request cannot be answered; its neighbours are not touched.

    Attributes:
        code: the HTTP status, 4xx, 500 or 503.
        type: a name for programs, such as "UnknownField".
        message: one sentence or two for people.
        details: what is wrong, field by field; may be empty.
    """

    exit_code = 2  # on the command line, a wrong request is a wrong usage

    def __init__(self, code: int, type: str, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.type = type
        self.message = message
        self.details = tuple(details)
