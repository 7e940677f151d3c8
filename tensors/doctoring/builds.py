"""For which AMD cards an engine was built, as far as its files show it."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from pathlib import Path

from tensors.doctoring.gfx import Build

_CODE = re.compile(rb"amdgcn-amd-amdhsa--(gfx[0-9]{1,2}(?:-[0-9])?-generic|gfx[0-9a-f]{3,4}(?![0-9a-z]))")
"""How code for a card is called, in a bundle of such codes and in each code itself. Bare names (`gfx906`) say nothing:
the runtime has a list of all cards. Where bundles are compressed, nothing can be seen."""
_BLAS = re.compile(r"(?:Tensile|Kernels).*[_-](gfx[0-9a-f]{3,4})\.(?:dat|co|hsaco)")
_OURS = ("ggml", "stable-diffusion")
"""In the names of the libraries of an engine that is not of one piece."""
_LIBRARIES = "rocblas/library"
_SYSTEM = ("opt/rocm/lib", "usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib")


def build_of(program: Path, root: Path) -> Build:
    """What can be seen of an engine, and of the rocBLAS beside it, or else of the system's below `root`.

    Reads the whole program, of which there may be a gigabyte. Raises `OSError` when it cannot.
    """
    program = program.resolve()
    code = set(_code_in(program))
    for library in sorted(program.parent.glob("*.so*")):
        if not library.is_symlink() and any(name in library.name for name in _OURS):
            code |= _code_in(library)
    places = [program.parent, program.parent.parent / "lib", *(root / folder for folder in _SYSTEM)]
    blas = next((found for place in places if (found := _blas_in(place / _LIBRARIES))), None)
    return Build(frozenset(code) or None, blas)


def _code_in(file: Path) -> set[str]:
    if file.stat().st_size == 0:
        return set()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _texts(found[1] for found in _CODE.finditer(data))


def _texts(names: Iterable[bytes]) -> set[str]:
    return {name.decode() for name in names}


def _blas_in(folder: Path) -> frozenset[str] | None:
    names = (found[1] for file in folder.glob("*gfx*") if (found := _BLAS.fullmatch(file.name)))
    return frozenset(names) or None
