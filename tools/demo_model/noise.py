"""The engine's noise: Philox-4x32-10 and Box-Muller, the same numbers for the same seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(seed: int, count: int, offset: int = 0) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The first two of the four 32-bit numbers that belong to each of the counters 0 .. `count` - 1.

    `seed` is a key of 64 bits; `offset` is how many draws were made before.
    """
    c0 = np.full(count, offset, dtype=np.uint64)
    c1 = np.zeros(count, dtype=np.uint64)
    c2 = np.arange(count, dtype=np.uint64)
    c3 = np.zeros(count, dtype=np.uint64)
    key = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    for _ in range(_ROUNDS):
        a, b = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (b >> _HALF) ^ c1 ^ np.uint64(key[0]), (a >> _HALF) ^ c3 ^ np.uint64(key[1])
        c1, c3 = b & _LOW, a & _LOW
        key = [(number + step) & 0xFFFFFFFF for number, step in zip(key, _KEY_STEPS, strict=True)]
    return c0, c1


def normal(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Normally distributed numbers as the engine's `cuda` generator makes them for a seed (0 .. 2^31 - 1).

    The counter of a number is its place in the C-ordered array.
    """
    first, second = (part.astype(np.float32) for part in philox(seed, int(np.prod(shape))))
    unit = np.float32(2**-32)
    turn = np.float32(2 * np.pi) * unit
    radius = np.sqrt(-2 * np.log(first * unit + unit / 2))
    numbers: npt.NDArray[np.float32] = radius * np.sin(second * turn + turn / 2)
    return numbers.reshape(shape)
