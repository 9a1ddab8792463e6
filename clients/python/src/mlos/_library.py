"""libmlos, as mlos.h declares it."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from . import _errors

INTERFACE_VERSION = 1
INPUT, OUTPUT = 0, 1
RANK_MAX = 8
STRING = 13


class Options(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("spin_us", c_int64),
        ("timeout_ms", c_int64),
        ("arena_bytes", c_uint64),
        ("slots", c_uint32),
        ("reserved", c_uint32),
    ]


class TensorInfo(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char_p),
        ("dtype", c_uint32),
        ("rank", c_uint32),
        ("dims", c_int64 * RANK_MAX),
    ]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("data", c_void_p),
        ("bytes", c_size_t),
        ("dtype", c_uint32),
        ("rank", c_uint32),
        ("dims", c_uint64 * RANK_MAX),
    ]


class Terms(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("job_class", c_uint32),
        ("on_miss", c_uint32),
        ("deadline_us", c_uint64),
    ]


class Timing(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("queue_ns", c_uint64),
        ("compute_ns", c_uint64),
        ("job_class", c_uint32),
        ("preemptions", c_uint32),
        ("parts", c_uint32),
        ("reserved", c_uint32),
    ]


# Arguments of what returns a status.
_CALLS: dict[str, list[Any]] = {
    "connect": [c_char_p, POINTER(Options), POINTER(c_void_p)],
    "reconnect": [c_void_p],
    "client_fd": [c_void_p, POINTER(c_int)],
    "client_on_readable": [c_void_p],
    "wait_any": [c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_size_t)],
    "open": [c_void_p, c_char_p, c_char_p, POINTER(c_void_p)],
    "model_tensor": [c_void_p, c_int, c_size_t, POINTER(TensorInfo)],
    "request_new": [c_void_p, POINTER(c_void_p)],
    "request_rows": [c_void_p, c_uint64],
    "request_dims": [c_void_p, c_char_p, POINTER(c_uint64), c_size_t],
    "request_capacity": [c_void_p, c_char_p, c_size_t],
    "request_without": [c_void_p, c_char_p],
    "request_bind": [c_void_p],
    "request_tensor": [c_void_p, c_int, c_size_t, POINTER(Tensor)],
    "request_set_strings": [c_void_p, c_char_p, POINTER(c_char_p), POINTER(c_size_t), c_size_t],
    "request_string": [c_void_p, c_char_p, c_size_t, POINTER(c_void_p), POINTER(c_size_t)],
    "infer": [c_void_p, POINTER(Terms), POINTER(Timing)],
    "submit": [c_void_p, POINTER(Terms)],
    "wait": [c_void_p, c_int64, POINTER(Timing)],
    "poll": [c_void_p, POINTER(c_int)],
    "cancel": [c_void_p],
}
_FREES = ("client_free", "model_free", "request_free")


class Library:
    """The functions of libmlos, without their prefix. Those that can fail raise."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        library.mlos_interface_version.restype = c_uint32
        version = library.mlos_interface_version()
        if version < INTERFACE_VERSION:
            raise ImportError(f"{path} has interface {version}; this package needs {INTERFACE_VERSION}")
        self._last_error = library.mlos_last_error
        self._last_error.restype = c_char_p
        for name, arguments in _CALLS.items():
            setattr(self, name, self._checked(library, name, arguments))
        for name in _FREES:
            free = getattr(library, f"mlos_{name}")
            free.restype, free.argtypes = None, [c_void_p]
            setattr(self, name, free)
        for name in ("model_id", "model_version"):
            text = getattr(library, f"mlos_{name}")
            text.restype, text.argtypes = c_char_p, [c_void_p]
            setattr(self, name, text)
        self.model_count = library.mlos_model_count
        self.model_count.restype, self.model_count.argtypes = c_size_t, [c_void_p, c_int]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def _checked(self, library: ctypes.CDLL, name: str, arguments: list[Any]) -> Any:
        function = getattr(library, f"mlos_{name}")
        function.restype, function.argtypes = c_int32, arguments
        function.errcheck = self._check
        return function

    def _check(self, status: int, _function: Any, _arguments: Any) -> None:
        if status != 0:
            raise _errors.of(status, (self._last_error() or b"").decode(errors="replace"))


def _path() -> str:
    named = os.environ.get("MLOS_LIBRARY")
    if named:
        return named
    bundled = Path(__file__).with_name("libmlos.so")
    return str(bundled) if bundled.exists() else "libmlos.so.0"


library = Library(_path())
