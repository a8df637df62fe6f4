"""A table of vectors, straight lines between its rows, and a product of two thin ones."""

import math


def product(left, right):
    """Rows times columns."""
    columns = list(zip(*right, strict=True))
    return [[math.fsum(a * b for a, b in zip(r, c, strict=True)) for c in columns] for r in left]


def stretched(table, length):
    """`length` rows; the first and the last are the table's own."""
    rows = []
    for i in range(length):
        place = i * (len(table) - 1) / (length - 1)
        low = min(math.floor(place), len(table) - 2)
        share = place - low
        rows.append([a + share * (b - a) for a, b in zip(table[low], table[low + 1], strict=True)])
    return rows
