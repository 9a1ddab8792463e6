"""Asks models of the MLOS daemon on the same machine. Inputs and outputs are numpy arrays in shared memory.

    with mlos.connect() as client, client.infer("mlos/digits") as r:
        r.inputs["image"][:] = image
        r.run()
        print(r.outputs["scores"])
"""

from ._client import Client, Model, TensorInfo, connect
from ._errors import (
    Cancelled,
    Conflict,
    DeadlineMiss,
    Error,
    Internal,
    InvalidArgument,
    ModelFailed,
    NotFound,
    Overloaded,
    TooLarge,
    Unavailable,
    Unsupported,
)
from ._request import Request, Timing

__all__ = [
    "Cancelled",
    "Client",
    "Conflict",
    "DeadlineMiss",
    "Error",
    "Internal",
    "InvalidArgument",
    "Model",
    "ModelFailed",
    "NotFound",
    "Overloaded",
    "Request",
    "TensorInfo",
    "Timing",
    "TooLarge",
    "Unavailable",
    "Unsupported",
    "connect",
]
