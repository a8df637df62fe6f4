"""transformers' inkling: r_i . P[:, i - j] within the extent, r_i = W x_i of each head."""


def bias(weights, profiles, x, i, j, extent, causal):
    """What a head adds to score (i, j).

    weights: rank rows of the head's projection; profiles: of each rank a function of distance.
    """
    distance = i - j
    least = 0 if causal else 1 - extent
    if not least <= distance < extent:
        return 0.0
    total = 0.0
    for row, profile in zip(weights, profiles, strict=True):
        total += sum(w * a for w, a in zip(row, x, strict=True)) * profile[distance]
    return total
