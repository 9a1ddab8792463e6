"""Errors, by kind."""

from __future__ import annotations


class Error(Exception):
    """Any failure. `kind` is the name that the daemon's other interfaces use."""

    kind = "error"


class InvalidArgument(Error, ValueError):
    """It is malformed, and will fail again."""

    kind = "invalid_argument"


class NotFound(Error, LookupError):
    """No such model, version, component or tensor."""

    kind = "not_found"


class Conflict(Error):
    """Not possible now: the request is in flight, or has not run."""

    kind = "conflict"


class TooLarge(Error, ValueError):
    """Larger than a limit, or than the room for it."""

    kind = "too_large"


class Unsupported(Error):
    """Not offered, or another version of the protocol."""

    kind = "unsupported"


class Overloaded(Error):
    """A queue, the arena or the slots are full: try again later."""

    kind = "overloaded"


class DeadlineMiss(Error, TimeoutError):
    """It would miss or has missed its deadline, or no answer came in time."""

    kind = "deadline_miss"


class Unavailable(Error, ConnectionError):
    """No daemon, or it is draining or gone: `Client.reconnect`."""

    kind = "unavailable"


class Cancelled(Error):
    """Cancelled, as asked."""

    kind = "cancelled"


class ModelFailed(Error, RuntimeError):
    """The model failed."""

    kind = "model_failed"


class Internal(Error, RuntimeError):
    """A mistake of the daemon's or of this library's."""

    kind = "internal"


# In the order of their numbers in mlos.h, from 1 on.
KINDS: tuple[type[Error], ...] = (
    InvalidArgument,
    NotFound,
    Conflict,
    TooLarge,
    Unsupported,
    Overloaded,
    DeadlineMiss,
    Unavailable,
    Cancelled,
    ModelFailed,
    Internal,
)


def of(status: int, text: str) -> Error:
    """The error of a status that is not 0."""
    kind = KINDS[status - 1] if 0 < status <= len(KINDS) else Internal
    return kind(text)
