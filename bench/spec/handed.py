"""Plugins that a program hands as objects: their classes, and how worker processes get them.

A class that a module has is sent by its name. One that a notebook or a script has defined is sent
by value, and the digest of its code stands for its source in the keys of runs.
"""

import dataclasses
import dis
import enum
import functools
import hashlib
import pickle
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import (
    CodeType,
    EllipsisType,
    FunctionType,
    MethodType,
    ModuleType,
    NoneType,
    UnionType,
)
from typing import Any, TypeVar, get_origin

import bench
from bench.errors import UserError, described, missing_package

#: What is spelled out in full where it is printed.
_CONSTANTS = (
    *(bool, int, float, complex, str, bytes, NoneType, EllipsisType),
    *(range, slice, UnionType, TypeVar),
)
#: What torch has for constants. It is not imported here.
_OF_TORCH = ("dtype", "device", "Size", "memory_format")
#: Folders of what is installed, whose version says what it does.
_INSTALLED = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@dataclass(frozen=True)
class Sent:
    """A class on its way to a worker. `digest` is empty where its module is its source."""

    kind: str
    name: str
    digest: str
    content: bytes


_classes: dict[tuple[str, str], type[Any]] = {}
_digests: dict[type[Any], str] = {}
_contents: dict[type[Any], bytes] = {}
_received: dict[tuple[str, str], Sent] = {}


def classes(kind: str) -> dict[str, type[Any]]:
    """Return the classes of a kind of plugin that were handed to this process, by name."""
    return {name: plugin for (of, name), plugin in _classes.items() if of == kind}


def anything() -> bool:
    """Return whether a class was handed to this process."""
    return bool(_classes)


def keep(kind: str, plugin: type[Any]) -> None:
    """Keep a class, in place of one of its kind that was handed under its name before.

    Raises `UserError` where its code has no digest.
    """
    _digests[plugin] = code_digest(plugin) if _by_value(plugin) else ""
    _classes[kind, plugin.name] = plugin


def digest_of(plugin: type[Any]) -> str:
    """Return the digest of a class that was handed by value; empty for any other."""
    return _digests.get(plugin, "")


def to_send() -> tuple[Sent, ...]:
    """Return all that was handed. Raises `UserError` where a class cannot be sent."""
    return tuple(
        Sent(kind, name, _digests[plugin], _content(plugin))
        for (kind, name), plugin in _classes.items()
    )


def receive(sent: Iterable[Sent]) -> bool:
    """Keep what another process has handed; return whether any of it is new.

    Raises `UserError` where a class cannot be made again here.
    """
    new = False
    for each in sent:
        if _received.get((each.kind, each.name)) == each:
            continue
        try:
            plugin = pickle.loads(each.content)  # of the process that has started this one
        except BaseException as error:
            raise UserError(
                f"'{each.name}' cannot be made in a worker: {described(error)}; put it in a "
                "module of BENCH_PLUGINS, or give workers=0"
            ) from error
        _classes[each.kind, each.name], _digests[plugin] = plugin, each.digest
        _received[each.kind, each.name] = each
        new = True
    return new


def _content(plugin: type[Any]) -> bytes:
    """Return a class as it is sent; it is made once, since every request has it."""
    if plugin not in _contents:
        _contents[plugin] = _pickled(plugin)
    return _contents[plugin]


def _pickled(plugin: type[Any]) -> bytes:
    if not _by_value(plugin):
        return pickle.dumps(plugin)
    try:
        import cloudpickle
    except ImportError:
        raise missing_package(
            f"'{plugin.name}', which is in no module,", "cloudpickle", "notebook"
        ) from None
    try:
        content: bytes = cloudpickle.dumps(plugin)
    except Exception as error:
        raise UserError(
            f"'{plugin.name}' cannot be sent to workers: {described(error)}; put it in a module, "
            "or give workers=0"
        ) from error
    return content


def _by_value(plugin: Any) -> bool:
    """Return whether a class or a function is in no module that another process can import."""
    found: Any = sys.modules.get(plugin.__module__ or "")
    if plugin.__module__ == "__main__" or found is None:
        return True
    for part in plugin.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not plugin


def code_digest(plugin: type[Any]) -> str:
    """Return the SHA-256 of the code of a class and of all it uses that is in no module.

    Comments and line numbers are no part of it. Raises `UserError` where it uses a value whose
    content cannot be told.
    """
    walk = _Walk(plugin.__qualname__)
    walk.add(plugin)
    return hashlib.sha256("\n".join(walk.parts).encode("utf-8", "surrogatepass")).hexdigest()


class _Walk:
    """Collects what the code of a class does, in the order in which it is met."""

    def __init__(self, who: str) -> None:
        self.who, self.parts = who, list[str]()
        self._seen: dict[int, object] = {}  # keeps them alive, so that no two share a number

    def add(self, value: Any, name: str = "") -> None:
        """Add a value: a constant, a collection of them, a class, a function, or a module."""
        self.parts.append(f"{name}:{type(value).__name__}")
        if isinstance(value, _CONSTANTS) or get_origin(value) is not None or _of_torch(value):
            self.parts.append(repr(value))
        elif isinstance(value, tuple | list):
            for part in value:
                self.add(part, name)
        elif isinstance(value, set | frozenset):
            for part in sorted(value, key=repr):
                self.add(part, name)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                self.add(key, name)
                self.add(part, f"{name}[{key!r}]")
        elif id(value) not in self._seen:
            self._seen[id(value)] = value
            self._object(value, name)

    def _object(self, value: Any, name: str) -> None:
        if isinstance(value, ModuleType):
            self._module(value.__name__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, staticmethod | classmethod):
            self.add(value.__func__)
        elif isinstance(value, MethodType):
            self.add((value.__func__, value.__self__), name)
        elif isinstance(value, property):
            self.add((value.fget, value.fset, value.fdel))
        elif isinstance(value, functools.cached_property):
            self.add(value.func)
        elif isinstance(value, enum.Enum):
            self.add(type(value))
            self.parts.append(value.name)
        elif isinstance(value, dataclasses.Field):
            self.add((value.name, value.metadata))
            for default in (value.default, value.default_factory):
                if default is not dataclasses.MISSING:
                    self.add(default, value.name)
        elif dataclasses.is_dataclass(value):
            self.add(type(value))
            for field in dataclasses.fields(value):
                self.add(getattr(value, field.name), f"{name}.{field.name}")
        elif callable(value) and getattr(value, "__module__", None) and hasattr(value, "__name__"):
            self.parts.append(f"{value.__module__}.{value.__name__}")  # one that is built in
        else:
            raise UserError(
                f"{self.who} uses {name}, a {type(value).__name__}, and what is in it cannot be "
                "part of a run's key: make it a knob or a constant, or put the class in a module"
            )

    def _module(self, module: str) -> None:
        """Add a module: its name, and its source where it is no installed one."""
        self.parts.append(module)
        file = getattr(sys.modules.get(module), "__file__", None)
        installed = (*_INSTALLED, str(Path(bench.__file__).parent))
        if file and file.endswith(".py") and not file.startswith(installed):
            self.parts.append(hashlib.sha256(Path(file).read_bytes()).hexdigest())

    def _class(self, value: type[Any]) -> None:
        self.parts.append(value.__qualname__)
        if not _by_value(value):
            self._module(value.__module__)
            return
        for base in value.__bases__:
            self.add(base)
        for name, part in sorted(vars(value).items()):
            if name == "__dataclass_fields__":
                self.add(tuple(part.values()))
            elif name == "__annotations__":
                self.parts += [f"{key}: {hint}" for key, hint in part.items()]
            elif name.startswith("__"):  # a method of the class itself, or what says nothing
                if isinstance(part, FunctionType) and not _made(value, part):
                    self.add(part, name)
            elif name != "_abc_impl":
                self.add(part, name)

    def _function(self, value: FunctionType) -> None:
        self.parts.append(value.__qualname__)
        # A decorator names its work after what it wraps: only the globals say whose code it is.
        module = value.__globals__.get("__name__", "")
        if module != "__main__" and module in sys.modules and not _local(value, module):
            self._module(module)
            self.add(getattr(value, "__wrapped__", None))
            return
        codes = [value.__code__]
        for code in codes:
            codes += [part for part in code.co_consts if isinstance(part, CodeType)]
            self._code(code)
        self.add((value.__defaults__, value.__kwdefaults__))
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self.add(cell.cell_contents, name)
        for name in sorted({name for code in codes for name in _globals(code)}):
            if name in value.__globals__:
                self.add(value.__globals__[name], name)

    def _code(self, code: CodeType) -> None:
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        self.add((code.co_name, code.co_code, *shape, *names))
        self.add(tuple(part for part in code.co_consts if not isinstance(part, CodeType)))


def _local(value: FunctionType, module: str) -> bool:
    """Return whether a function of a module can only be sent by value: it is made in another."""
    return value.__module__ == module and _by_value(value)


def _made(plugin: type[Any], method: FunctionType) -> bool:
    """Return whether a method is one that `dataclass` makes of the fields, from a text."""
    code = getattr(method, "__wrapped__", method).__code__
    return dataclasses.is_dataclass(plugin) and code.co_filename == "<string>"


def _of_torch(value: object) -> bool:
    kind = type(value)
    return kind.__module__ == "torch" and kind.__name__ in _OF_TORCH


def _globals(code: CodeType) -> set[str]:
    """Return the names of globals that code reads."""
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    return {part.argval for part in dis.get_instructions(code) if part.opname in loads}
