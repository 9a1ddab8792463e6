"""Requests: arrays in shared memory, and runs of a model on them."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

import numpy as np

from . import _library
from ._errors import Conflict, InvalidArgument
from ._library import INPUT, OUTPUT, library

if TYPE_CHECKING:
    from types import TracebackType

    from ._client import Client, Model

CLASSES = ("default", "realtime", "high", "normal", "batch")
# By number in mlos.h. numpy has no bfloat16: its bits are shown. Strings are no arrays.
DTYPES: tuple[Any, ...] = (
    np.bool_,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.float16,
    np.uint16,
    np.float32,
    np.float64,
    None,
)


class Timing(NamedTuple):
    """How a run was served."""

    job_class: str
    queue_ns: int
    compute_ns: int
    preemptions: int
    parts: int


class _Handle:
    """A request of libmlos. Arrays hold it, so that their memory outlives the request that they were taken from."""

    def __init__(self, client: Client, pointer: ctypes.c_void_p) -> None:
        self.lock = client._lock
        self.pointer: Optional[ctypes.c_void_p] = pointer

    def __del__(self) -> None:
        pointer, self.pointer = self.pointer, None
        if pointer is not None:
            with self.lock:
                library.request_free(pointer)


class Tensors(Mapping[str, "np.ndarray[Any, Any]"]):
    """The inputs or outputs of a request by name, as arrays where they lie."""

    def __init__(self, request: Request, direction: int, names: Sequence[str]) -> None:
        self._request = request
        self._direction = direction
        self._names = {name: at for at, name in enumerate(names)}
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        at = self._names[name]
        if self._direction == INPUT and name in self._arrays:
            # Where an input lies and how large it is never changes.
            return self._arrays[name]
        return self._request._array(self._direction, at, self._arrays, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __setitem__(self, name: str, value: Any) -> None:
        """Copies a value into the array: `r.inputs["x"] = image`."""
        self[name][...] = value


class Request:
    """Arrays for a model's inputs and outputs, and runs of it on them. Made by `Model.request` or `Client.infer`."""

    def __init__(
        self,
        model: Model,
        *,
        rows: int = 1,
        dims: Optional[Mapping[str, Sequence[int]]] = None,
        capacity: Optional[Mapping[str, int]] = None,
        without: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.timing: Optional[Timing] = None
        self._client = model.client
        self._handle: Optional[_Handle] = None
        pointer = ctypes.c_void_p()
        with self._client._lock:
            library.request_new(model._live(), ctypes.byref(pointer))
            handle = _Handle(self._client, pointer)
            library.request_rows(pointer, rows)
            for name, shape in (dims or {}).items():
                library.request_dims(pointer, name.encode(), (ctypes.c_uint64 * len(shape))(*shape), len(shape))
            for name, bytes_ in (capacity or {}).items():
                library.request_capacity(pointer, name.encode(), bytes_)
            for name in without:
                library.request_without(pointer, name.encode())
            library.request_bind(pointer)
        self._handle = handle
        left_out = set(without)
        self.inputs = Tensors(self, INPUT, [n for n in model.inputs])
        self.outputs = Tensors(self, OUTPUT, [n for n in model.outputs])
        for tensors in (self.inputs, self.outputs):
            for name in left_out & set(tensors._names):
                del tensors._names[name]

    def _live(self) -> Any:
        if self._handle is None or self._handle.pointer is None:
            raise Conflict("the request is closed")
        return self._handle.pointer

    def _array(
        self, direction: int, at: int, arrays: dict[str, np.ndarray[Any, Any]], name: str
    ) -> np.ndarray[Any, Any]:
        tensor = _library.Tensor(size=ctypes.sizeof(_library.Tensor))
        with self._client._lock:
            library.request_tensor(self._live(), direction, at, ctypes.byref(tensor))
        dtype = DTYPES[tensor.dtype]
        if dtype is None:
            raise InvalidArgument(f"'{name}' holds strings: use set_strings and strings")
        shape = tuple(tensor.dims[: tensor.rank])
        known = arrays.get(name)
        if known is not None and known.shape == shape:
            return known
        memory = (ctypes.c_char * tensor.bytes).from_address(tensor.data)
        memory._handle = self._handle
        array = np.frombuffer(memory, dtype=dtype).reshape(shape)
        arrays[name] = array
        return array

    # --- strings ---

    def set_strings(self, name: str, strings: Sequence[Union[str, bytes]]) -> None:
        """Fills an input of strings."""
        given = [string.encode() if isinstance(string, str) else string for string in strings]
        count = len(given)
        with self._client._lock:
            library.request_set_strings(
                self._live(),
                name.encode(),
                (ctypes.c_char_p * count)(*given),
                (ctypes.c_size_t * count)(*map(len, given)),
                count,
            )

    def strings(self, name: str) -> list[bytes]:
        """The elements of an output of strings."""
        found: list[bytes] = []
        start, length = ctypes.c_void_p(), ctypes.c_size_t()
        with self._client._lock:
            while True:
                try:
                    library.request_string(
                        self._live(), name.encode(), len(found), ctypes.byref(start), ctypes.byref(length)
                    )
                except InvalidArgument as error:
                    # There is no further element; anything else is a mistake of the caller's.
                    if "there is no element" not in str(error):
                        raise
                    return found
                found.append(ctypes.string_at(start, length.value) if length.value else b"")

    # --- runs ---

    def run(
        self, *, job_class: str = "default", deadline: Optional[float] = None, degrade: bool = False
    ) -> Tensors:
        """Runs the model and waits. `deadline` is in seconds; one that would be missed is refused, unless `degrade`."""
        timing = _library.Timing(size=ctypes.sizeof(_library.Timing))
        terms = _terms(job_class, deadline, degrade)
        self.timing = None
        with self._client._lock:
            library.infer(self._live(), ctypes.byref(terms), ctypes.byref(timing))
        self.timing = _timing(timing)
        return self.outputs

    def submit(
        self, *, job_class: str = "default", deadline: Optional[float] = None, degrade: bool = False
    ) -> None:
        """Sends the request and goes on. Until `wait`, its memory is the model's."""
        terms = _terms(job_class, deadline, degrade)
        self.timing = None
        with self._client._lock:
            library.submit(self._live(), ctypes.byref(terms))

    def wait(self, timeout: Optional[float] = None) -> Tensors:
        """Waits for the answer: for so many seconds, or as long as the client's timeout."""
        timing = _library.Timing(size=ctypes.sizeof(_library.Timing))
        timeout_ms = -1 if timeout is None else max(0, round(timeout * 1000))
        with self._client._lock:
            library.wait(self._live(), timeout_ms, ctypes.byref(timing))
        self.timing = _timing(timing)
        return self.outputs

    def is_done(self) -> bool:
        """Whether a wait would not wait."""
        is_done = ctypes.c_int()
        with self._client._lock:
            library.poll(self._live(), ctypes.byref(is_done))
        return bool(is_done.value)

    def cancel(self) -> None:
        """Asks the daemon to stop. The answer still comes: as cancelled, or as done."""
        with self._client._lock:
            library.cancel(self._live())

    async def arun(
        self, *, job_class: str = "default", deadline: Optional[float] = None, degrade: bool = False
    ) -> Tensors:
        """Runs the model and awaits the answer. A task that is cancelled cancels the request."""
        self.submit(job_class=job_class, deadline=deadline, degrade=degrade)
        try:
            await self._client._watch(self)
        except asyncio.CancelledError:
            self.cancel()
            # The memory comes back with the answer, which a cancel hastens.
            await asyncio.shield(self._client._watch(self))
            try:
                self.wait()
            except Exception:  # noqa: BLE001  how it ended is of no interest to a task that is cancelled
                pass
            raise
        return self.wait()

    # --- its end ---

    def close(self) -> None:
        """Gives the memory back, once no array of it is held."""
        self.inputs._arrays.clear()
        self.outputs._arrays.clear()
        self._handle = None

    def __enter__(self) -> Request:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def _terms(job_class: str, deadline: Optional[float], degrade: bool) -> _library.Terms:
    if job_class not in CLASSES:
        raise InvalidArgument(f"there is no class '{job_class}'; classes are {', '.join(CLASSES)}")
    deadline_us = 0 if deadline is None else max(1, round(deadline * 1e6))
    return _library.Terms(
        size=ctypes.sizeof(_library.Terms),
        job_class=CLASSES.index(job_class),
        on_miss=int(degrade),
        deadline_us=deadline_us,
    )


def _timing(timing: _library.Timing) -> Timing:
    served = CLASSES[timing.job_class] if timing.job_class < len(CLASSES) else "default"
    return Timing(served, timing.queue_ns, timing.compute_ns, timing.preemptions, timing.parts)
