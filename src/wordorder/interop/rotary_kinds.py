"""Which rotary embeddings of a model's layers other programs can express."""

from __future__ import annotations

from wordorder.positions import Rotary

from .architecture import Architecture

# llama.cpp reads these scalings as metadata, any fixed frequencies as a tensor of divisors, and
# longrope's two sets as two tensors. It supports no frequencies that change with the text.
PLAIN = frozenset({"none", "ntk"})
BY_METADATA = frozenset({"none", "linear", "ntk"})
BY_DIVISORS = BY_METADATA | {"yarn", "llama3"}
BY_TWO_SETS = BY_DIVISORS | {"longrope"}


def has_stock_rotary(architecture: Architecture, *, partial: bool = False) -> bool:
    """Return whether all rotary layers have the same embedding, of a type that transformers has.

    Args:
        partial: the class turns a leading part of each head, not only whole heads.
    """
    alone = are_alone(architecture)
    rotaries = architecture.rotaries
    return alone and len(rotaries) < 2 and all(is_stock(rotary, partial) for rotary in rotaries)


def is_stock(rotary: Rotary, partial: bool) -> bool:
    """Return whether transformers has a rotary type with these frequencies."""
    if rotary.proportional:
        # transformers' type for these frequencies supports no scaling but one factor for all.
        return rotary.scaling in ("none", "linear")
    if rotary.fraction == 1:
        return True
    # transformers scales the scores of rotated dimensions only, wordorder those of all.
    return partial and rotary.softmax_scale is None


def has_rotary(architecture: Architecture, *, scalings: frozenset[str]) -> bool:
    """Return whether one rotary embedding with such a scaling, or none, acts in each layer."""
    alone = are_alone(architecture)
    rotaries = architecture.rotaries
    is_one = alone and len(rotaries) < 2 and architecture.config.head_dim % 2 == 0
    return is_one and all(rotary.scaling in scalings for rotary in rotaries)


def has_plain_rotary(architecture: Architecture, *, partial: bool = False) -> bool:
    """Return whether llama.cpp's metadata alone expresses the rotary embedding of every layer.

    Args:
        partial: the architecture turns a leading part of each head, not only whole heads.
    """
    whole = all(r.fraction == 1 or (partial and not r.proportional) for r in architecture.rotaries)
    everywhere = architecture.is_position_free or all(architecture.layers)
    return whole and everywhere and has_rotary(architecture, scalings=BY_METADATA)


def windows_turn(architecture: Architecture) -> bool:
    """Return whether exactly the rotary layers have the window, or no layer has one."""
    config, windows = architecture.config, architecture.window_sizes
    turned = [architecture.rotary(i) is not None for i in range(config.layers)]
    limited = [config.window(i) is not None for i in range(config.layers)]
    return len(windows) < 2 and (not windows or turned == limited)


def has_rotary_everywhere(architecture: Architecture) -> bool:
    return has_stock_rotary(architecture) and (
        architecture.is_position_free or all(architecture.layers)
    )


def are_alone(architecture: Architecture) -> bool:
    """Return whether each layer has a rotary embedding or none, and nothing else."""
    return all(
        len(layer) < 2 and all(isinstance(p, Rotary) for p in layer)
        for layer in architecture.layers
    )


def is_plain(rotary: Rotary, scalings: frozenset[str]) -> bool:
    """Return whether an embedding rotates whole heads, with one of these scalings.

    YaRN with `truncate` off is excluded: transformers ignores it in settings per kind of layer.
    """
    is_whole = rotary.fraction == 1 and not rotary.proportional
    return is_whole and rotary.scaling in scalings and rotary.truncate


def has_rotary_by_window(architecture: Architecture, *, of_full: frozenset[str]) -> bool:
    """Return whether layers with a window have one rotary embedding, and the others one or none.

    Args:
        of_full: the scalings that layers without a window may have.
    """
    config = architecture.config
    by_kind: dict[bool, list[Rotary | None]] = {True: [], False: []}
    for i in range(config.layers):
        by_kind[config.window(i) is not None].append(architecture.rotary(i))
    are_equal = all(len(set(map(repr, rotaries))) < 2 for rotaries in by_kind.values())
    sliding = [r for r in by_kind[True] if r is None or not is_plain(r, PLAIN)]
    full = [r for r in by_kind[False] if r is not None and not is_plain(r, of_full)]
    return are_alone(architecture) and are_equal and not sliding and not full


def are_full_at_the_end(architecture: Architecture) -> bool:
    """Return whether the layers without a window are the last of every N, all, or none."""
    limited = [architecture.config.window(i) is not None for i in range(architecture.config.layers)]
    if len(architecture.window_sizes) > 1:
        return False
    period = limited.index(False) + 1 if not all(limited) else len(limited) + 1
    return all(is_limited == bool((i + 1) % period) for i, is_limited in enumerate(limited))


def are_full_every(architecture: Architecture) -> bool:
    """Return whether the layers without a window are the first and every N-th after it."""
    config = architecture.config
    limited = [config.window(i) is not None for i in range(config.layers)]
    if len(architecture.window_sizes) > 1 or limited[0]:
        return False
    period = next((i for i in range(1, len(limited)) if not limited[i]), len(limited))
    return all(is_limited == bool(i % period) for i, is_limited in enumerate(limited))


def has_decoupled_rotary(architecture: Architecture) -> bool:
    """Return whether DeepSeek's classes rotate the decoupled part of heads in the same way.

    Of the scalings that change scores, these classes apply only YaRN's to all dimensions.
    """
    return has_rotary_everywhere(architecture) and all(
        not rotary.proportional and (rotary.scaling == "yarn" or rotary.softmax_scale is None)
        for rotary in architecture.rotaries
    )
