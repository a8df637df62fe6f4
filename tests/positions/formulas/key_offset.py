"""modded-nanogpt, record 49: the unrotated part of a key is that of the token before."""


def key(keys, documents, j, moved):
    """Return key j, whose last `moved` numbers come from the token before j in its document."""
    before = [i for i in range(j) if documents[i] == documents[j]]
    source = keys[before[-1]] if before else keys[j]
    own = len(keys[j]) - moved
    return keys[j][:own] + source[own:]
