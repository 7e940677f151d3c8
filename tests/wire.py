"""All types that cross a boundary."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

from tensors import types


def wire_types() -> dict[str, type]:
    """Every dataclass of `tensors.types` by name."""
    modules = [
        importlib.import_module(f"{types.__name__}.{found.name}") for found in pkgutil.iter_modules(types.__path__)
    ]
    return {
        name: cls
        for module in modules
        for name, cls in vars(module).items()
        if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls.__module__ == module.__name__
    }
