"""What does not suit a patch: found when a pipeline starts, where it can still be changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def cells(patch_size: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Size of a feature map for a patch."""
    return tuple(math.ceil(n / s) for n, s in zip(patch_size, strides, strict=True))


def rate_warnings(
    key: str, rates: Iterable[int], patch_size: Sequence[int], strides: Sequence[int], *, listed: bool = True
) -> list[str]:
    """Name the atrous rates that reach beyond the map of such a patch: only their centre tap is left.

    Args:
        key: the option that holds the rates, such as ``atrous_rates``.
        rates: in cells of the map.
        patch_size: of the network's input.
        strides: of the map.
        listed: the option lists the rates themselves, so that others can be suggested (see ``suggested_rates``).

    Returns:
        One warning or none.
    """
    size, rates = cells(patch_size, strides), tuple(rates)
    beyond = sorted({rate for rate in rates if rate >= min(size)})
    if not beyond:
        return []
    fitting = suggested_rates(rates, size)
    example = f", such as [{_listed(fitting)}]" if listed else ""
    return [
        f"network.{key}: {_listed(beyond)} reach beyond the last feature map, which has {_by(size)} cells for a patch "
        f"of {_by(patch_size)}; rates up to {fitting[-1]} would use it{example} (or take a larger patch, a smaller "
        "output_stride or stem_stride: 1)"
    ]


def suggested_rates(rates: Iterable[int], size: Sequence[int]) -> tuple[int, ...]:
    """The rates in their proportions, shrunk until the largest is 0.4 of the map: 6, 12, 18 on 8 cells give 1, 2, 3.

    At 0.4 of the map about half of a 3x3 kernel's taps fall inside it, in 3D two in five; at its length one does.
    Rates that become equal are named once.

    Args:
        rates: as they are.
        size: cells of the map along each axis; the shortest counts.
    """
    rates = tuple(rates)
    scale = max(1, int(0.4 * min(size))) / max(rates)
    return tuple(sorted({max(1, int(rate * scale + 0.5)) for rate in rates}))


def bin_warnings(key: str, bins: Iterable[int], patch_size: Sequence[int], strides: Sequence[int]) -> list[str]:
    """Name the pooling grids that are finer than the map of such a patch: they only repeat its cells.

    Args:
        key: the option that holds the grids, such as ``bins``.
        bins: cells of each grid along an axis.
        patch_size: of the network's input.
        strides: of the map.

    Returns:
        One warning or none.
    """
    size = cells(patch_size, strides)
    finer = sorted({n for n in bins if n > min(size)})
    if not finer:
        return []
    return [
        f"network.{key}: grids of {_listed(finer)} are finer than the feature map, which has {_by(size)} cells for a "
        f"patch of {_by(patch_size)}; take grids up to {min(size)}, or a larger patch"
    ]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _by(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))
