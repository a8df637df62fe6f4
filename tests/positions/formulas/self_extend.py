"""Jin et al. 2024, sections 3.2 and 3.3: the distance at which a key is turned for a query."""


def grouped(position, group):
    """Equation 3: positions are divided by the group's size and rounded down."""
    return (position - position % group) / group


def distance(m, n, group, neighbours):
    """Of the key at n from the query at m: as it is among neighbours, else in groups."""
    if m - n < neighbours:
        return m - n
    shift = neighbours - grouped(neighbours, group)
    return grouped(m, group) + shift - grouped(n, group)
