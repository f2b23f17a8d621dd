"""Counting in a matrix of similarities that never is in memory as a whole.

Both directions are counted from one product, tile by tile; on a CPU a tile stays in its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import isqrt
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

# Similarities held at a time, a quarter of a gigabyte; those that a CPU counts within its cache.
HELD, CACHED = 1 << 26, 1 << 20


class Tiles:
    """Similarities of rows (N, d) and columns (D, d), some of both at a time.

    They stay in memory where all fit into ``HELD``. Else a tile that is read again is multiplied
    again, by the same call: a product of another shape could round differently.
    """

    def __init__(self, rows: Tensor, columns: Tensor) -> None:
        area = CACHED if rows.device.type == "cpu" else HELD
        high = min(len(rows), max(isqrt(area), area // len(columns)))
        i, j = -(-len(rows) // high), -(-len(columns) // (area // high))
        self.parts = rows.tensor_split(i), columns.tensor_split(j)
        self.spare, self.holds = rows.new_empty(0), rows.new_empty(0)
        self.here = partial(torch.as_tensor, device=rows.device)
        fits = len(rows) * len(columns) <= HELD
        strips = (rows @ columns.T).tensor_split(i) if fits else ()
        self.whole = [strip.tensor_split(j, dim=1) for strip in strips]

    def tile(self, i: int, j: int) -> Tensor:
        """The similarities of a part of the rows and one of the columns, until the next call."""
        if self.whole:
            return self.whole[i][j]
        return torch.mm(self.parts[0][i], self.parts[1][j].T, out=self.spare.resize_(0))

    def at(self, row: np.ndarray, column: np.ndarray) -> Tensor:
        """The similarities of some pairs (P) of a row and a column."""
        found = self.spare.new_empty(len(row))
        (i, row), (j, column) = map(_lie, (row, column), self.parts)
        for pairs in pd.Series(i).groupby([i, j]).indices.values():
            found[pairs] = self.tile(i[pairs[0]], j[pairs[0]])[row[pairs], column[pairs]]
        return found

    def counts(self, *sides: tuple[np.ndarray, Tensor, np.ndarray]) -> list[np.ndarray]:
        """What is above the bound of each query and what equals it: (2, Q), by row and by column.

        Args:
            sides: of the rows, and of the columns: where each query asks (Q); its bound (Q); how
                often each row, or column, counts as a candidate of the other side.
        """
        (by_row, times_r), (by_column, times_c) = map(self._queries, sides, self.parts)
        counts = [torch.zeros(2, len(of), device=of.device, dtype=torch.long) for _, of, _ in sides]
        for i, j in product(*map(range, map(len, self.parts))):
            tile = self.tile(i, j)
            both = (tile, by_row[i], times_c[j]), (tile.T, by_column[j], times_r[i])
            for (above, tie), (seen, runs, times) in zip(counts, both, strict=True):
                for asked, at, bound in runs:
                    part = seen if len(at) == len(seen) else seen[at]
                    for count, compare in ((above, torch.gt), (tie, torch.eq)):
                        holds = compare(part, bound, out=self.holds.resize_(0))
                        # A product counts: whole, exact in fp32 below 2^24, faster than a sum.
                        count.index_add_(0, asked, (holds @ times).long())
        return [count.cpu().numpy() for count in counts]

    def _queries(self, side: tuple[np.ndarray, Tensor, np.ndarray], parts: Sequence[Tensor]) -> Any:
        """For each part its queries, the rows they ask by and their bounds; how often rows count.

        Queries come in runs: first one of each row, in order; then fewer at a time than rows.
        """
        (part_of, at), found = _lie(side[0], parts), []
        for n, rows in enumerate(parts):
            asked, most = np.flatnonzero(part_of == n), max(len(rows) - 1, 1)
            first = np.unique(at[asked], return_index=True)[1]
            rest = np.delete(asked, first)
            runs = asked[first], *(rest[k : k + most] for k in range(0, len(rest), most))
            found.append([(self.here(r), self.here(at[r]), side[1][r, None]) for r in runs])
        return found, self.here(side[2], dtype=torch.float32).tensor_split(len(parts))


def _lie(row_of: np.ndarray, parts: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """The part in which each row lies, and its place there."""
    ends = np.cumsum([*map(len, parts)])
    part_of = np.searchsorted(ends, row_of, side="right")
    return part_of, row_of - np.append(0, ends)[part_of]
