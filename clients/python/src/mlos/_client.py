"""Clients and models."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from . import _library
from ._errors import Conflict, InvalidArgument, Unavailable
from ._library import INPUT, OUTPUT, library
from ._request import DTYPES, Request

if TYPE_CHECKING:
    from types import TracebackType


class TensorInfo(NamedTuple):
    """An input or output as a model declares it. `dtype` is numpy's, or None for strings; a dim of None may be any."""

    name: str
    dtype: Any
    dims: tuple[Optional[int], ...]


class Model:
    """A model that was opened. Made by `Client.open`."""

    def __init__(self, client: Client, name: str, component: Optional[str]) -> None:
        self.client = client
        self._pointer: Optional[ctypes.c_void_p] = None
        pointer = ctypes.c_void_p()
        with client._lock:
            part = None if component is None else component.encode()
            library.open(client._live(), name.encode(), part, ctypes.byref(pointer))
            self._pointer = pointer
            self.id: str = library.model_id(pointer).decode()
            version = library.model_version(pointer)
            self.version: Optional[str] = None if version is None else version.decode()
            self.inputs: dict[str, TensorInfo] = self._infos(INPUT)
            self.outputs: dict[str, TensorInfo] = self._infos(OUTPUT)

    def _infos(self, direction: int) -> dict[str, TensorInfo]:
        infos = {}
        info = _library.TensorInfo(size=ctypes.sizeof(_library.TensorInfo))
        for at in range(library.model_count(self._pointer, direction)):
            library.model_tensor(self._pointer, direction, at, ctypes.byref(info))
            name = info.name.decode()
            dims = tuple(None if dim < 0 else dim for dim in info.dims[: info.rank])
            infos[name] = TensorInfo(name, DTYPES[info.dtype], dims)
        return infos

    def _live(self) -> Any:
        if self._pointer is None:
            raise Conflict("the model is closed")
        return self._pointer

    def request(
        self,
        *,
        rows: int = 1,
        dims: Optional[Mapping[str, Sequence[int]]] = None,
        capacity: Optional[Mapping[str, int]] = None,
        without: Sequence[str] = (),
    ) -> Request:
        """Arrays for its inputs and outputs. `rows` is the first dimension where the model leaves it open; `dims` says
        others by name, `capacity` the room in bytes for outputs whose shape only the model knows and for strings;
        `without` leaves tensors out."""
        return Request(self, rows=rows, dims=dims, capacity=capacity, without=without)

    def close(self) -> None:
        """Gives the model back. Requests of it go on."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            with self.client._lock:
                library.model_free(pointer)

    def __del__(self) -> None:
        self.close()


class Client:
    """A connection to the daemon. Made by `connect`. Best used by one thread; several take turns."""

    def __init__(self, path: Optional[Union[str, os.PathLike[str]]], options: _library.Options) -> None:
        self._lock = threading.RLock()
        self._pointer: Optional[ctypes.c_void_p] = None
        self._models: dict[str, Model] = {}
        self._waiting: dict[Request, asyncio.Future[None]] = {}
        self._watched: Optional[tuple[asyncio.AbstractEventLoop, int]] = None
        pointer = ctypes.c_void_p()
        place = None if path is None else os.fsencode(path)
        library.connect(place, ctypes.byref(options), ctypes.byref(pointer))
        self._pointer = pointer

    def _live(self) -> Any:
        if self._pointer is None:
            raise Conflict("the client is closed")
        return self._pointer

    def open(self, model: str, component: Optional[str] = None) -> Model:
        """Opens a model: "hub/name" or "hub/name@version"."""
        return Model(self, model, component)

    def infer(
        self,
        model: str,
        *,
        rows: int = 1,
        dims: Optional[Mapping[str, Sequence[int]]] = None,
        capacity: Optional[Mapping[str, int]] = None,
        without: Sequence[str] = (),
    ) -> Request:
        """A request for a model by its name, which is opened once: see `Model.request`."""
        if model not in self._models:
            self._models[model] = self.open(model)
        return self._models[model].request(rows=rows, dims=dims, capacity=capacity, without=without)

    def wait_any(self, requests: Sequence[Request]) -> Request:
        """Waits until one of these requests, all in flight, is answered: `wait` on that one does not wait."""
        handles = (ctypes.c_void_p * len(requests))(*(request._live().value for request in requests))
        index = ctypes.c_size_t()
        with self._lock:
            library.wait_any(self._live(), handles, len(requests), ctypes.byref(index))
        return requests[index.value]

    def reconnect(self) -> None:
        """Connects anew after `Unavailable`. Models and requests of before stay with the connection that ended."""
        self._unwatch()
        with self._lock:
            library.reconnect(self._live())
        self._models.clear()

    def close(self) -> None:
        """Ends it, once its requests are closed too."""
        self._unwatch()
        self._models.clear()
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            with self._lock:
                library.client_free(pointer)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            library.client_free(pointer)

    # --- asyncio ---

    def _watch(self, request: Request) -> asyncio.Future[None]:
        """A future that is done when the request is answered."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        # Looks once, and has the descriptor rung if it was too early.
        if request.is_done():
            # One that a task gave up may have been watched before.
            self._waiting.pop(request, None)
            future.set_result(None)
            return future
        self._waiting[request] = future
        if self._watched is None or self._watched[0] is not loop:
            self._unwatch()
            fd = ctypes.c_int()
            library.client_fd(self._live(), ctypes.byref(fd))
            loop.add_reader(fd.value, self._on_readable)
            self._watched = (loop, fd.value)
        return future

    def _on_readable(self) -> None:
        with self._lock:
            try:
                library.client_on_readable(self._live())
            except Unavailable:
                # Each request that waits is told so when it is asked.
                self._unwatch()
        for request in list(self._waiting):
            if request.is_done():
                future = self._waiting.pop(request)
                if not future.done():
                    future.set_result(None)

    def _unwatch(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None and not watched[0].is_closed():
            watched[0].remove_reader(watched[1])


def connect(
    path: Optional[Union[str, os.PathLike[str]]] = None,
    *,
    name: Optional[str] = None,
    spin: Optional[float] = None,
    timeout: Optional[float] = None,
    arena_bytes: int = 0,
    slots: int = 0,
) -> Client:
    """Connects to the daemon at a socket; by default $MLOS_SOCKET, a user's own daemon, or the system's.

    `spin` is how many seconds a wait looks before it sleeps (0.00005), `timeout` how long anything waits for the daemon
    (10); `arena_bytes` is the memory for arrays, `slots` how many requests may be in flight.
    """
    if timeout is not None and timeout <= 0:
        raise InvalidArgument(f"timeout is {timeout}; it must be more than 0")
    options = _library.Options(
        size=ctypes.sizeof(_library.Options),
        name=None if name is None else name.encode(),
        # 0 is the default there, and a negative number sleeps at once.
        spin_us=0 if spin is None else (round(spin * 1e6) or -1),
        timeout_ms=0 if timeout is None else max(1, round(timeout * 1000)),
        arena_bytes=arena_bytes,
        slots=slots,
    )
    return Client(path, options)
