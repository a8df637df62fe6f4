"""Mistakes in the embeddings of 2025 and later, and in those that feed other positions."""

from .mutant import Mutant, slip

MUTANTS = (
    slip(
        "log-temperature",
        "the sequence's length for the query's number of keys",
        ("(indices + 1 if layout.causal else every)[None]", "every[None]"),
    ),
    slip(
        "log-temperature",
        "counted on through packed documents",
        ("first = torch.searchsorted(ordered, ordered)", "first = torch.zeros_like(ordered)"),
    ),
    slip(
        "log-temperature",
        "fewest keys as most",
        ("clamp(min=self.least)", "clamp(max=max(2, self.least))"),
    ),
    slip(
        "log-temperature",
        "one key too many in packed rows",
        (
            "torch.zeros_like(order).scatter(1, order, last - first)",
            "torch.zeros_like(order).scatter(1, order, last - first + 1)",
        ),
    ),
    slip(
        "inkling",
        "past the extent the last profile",
        ("added.where((distance >= least) & (distance <= most), 0.0)", "added"),
    ),
    slip(
        "inkling",
        "profiles read from the other end",
        (
            "column = most - distance.clamp(least, most)",
            "column = distance.clamp(least, most) - least",
        ),
    ),
    slip(
        "inkling",
        "weights of the first tokens for every query",
        ("state[:, indices]", "state[:, : len(indices)]"),
    ),
    slip(
        "key-offset",
        "the first key of a document from the document before",
        ("(ordered == ordered.roll(1, 1)) & (every > 0) &", "(every > 0) &"),
    ),
    slip(
        "key-offset",
        "the token after for the token before",
        ("(every - 1).clamp(min=0)", "(every + 1).clamp(max=len(every) - 1)"),
    ),
    slip(
        "key-offset",
        "transformed keys in the cache",
        ('    order_leak = "a part', '    static_rotation = True\n    order_leak = "a part'),
    ),
    slip(
        "fope",
        "slow pairs turn too",
        ("return every[: turning(every, self.resolved_period)].tolist()", "return every.tolist()"),
    ),
    slip(
        "fope",
        "cosines' weights for sines",
        ("@ of_sines.mT", "@ of_cosines.mT"),
    ),
    slip(
        "fope",
        "frequencies mixed into pairs the wrong way round",
        ("@ of_cosines.mT", "@ of_cosines"),
    ),
    Mutant(
        "hope: half a turn is enough",
        "positions/angles.py",
        (("frequencies * length >= 2 * math.pi", "frequencies * length >= math.pi"),),
        ("tests/positions/test_hope.py", "tests/positions/test_fope.py"),
    ),
    Mutant(
        "hope: written for a longer model it turns more",
        "positions/rotary.py",
        (('            values["fraction"] = self.resolved_fraction\n', "            pass\n"),),
        ("tests/positions/test_hope.py",),
    ),
    slip(
        "coupled",
        "an offset for every token",
        ("(batch_size, 1)", "(batch_size, positions.shape[1])"),
    ),
    slip(
        "coupled",
        "one offset for the batch",
        ("(batch_size, 1)", "(1, 1)"),
    ),
    Mutant(
        "coupled: digits counted through the plus sign",
        "experiments/algorithms.py",
        (("marks = (tokens < FIRST_SYMBOL) | (tokens == PLUS)", "marks = tokens < FIRST_SYMBOL"),),
        ("tests/experiments/test_coupling.py",),
    ),
    Mutant(
        "coupled: tested with plain positions",
        "experiments/task_training.py",
        (("Batch(batch.tokens, positions=batch.positions)", "Batch(batch.tokens)"),),
        ("tests/experiments/test_coupling.py",),
    ),
    slip(
        "stick-breaking",
        "the key's own share is passed on too",
        ("passed.flip(-1).cumsum(-1).flip(-1) - passed", "passed.flip(-1).cumsum(-1).flip(-1)"),
    ),
    slip(
        "stick-breaking",
        "the product runs over the keys before",
        ("passed.flip(-1).cumsum(-1).flip(-1) - passed", "passed.cumsum(-1) - passed"),
    ),
    slip(
        "stick-breaking",
        "masked keys take their share from what is left",
        ("F.logsigmoid(-scores).masked_fill(~allowed, 0.0)", "F.logsigmoid(-scores)"),
    ),
    slip(
        "grape",
        "turned the other way round",
        ("(angles.cos(), -angles.sin())", "(angles.cos(), angles.sin())"),
    ),
    slip(
        "grape",
        "angles in float32",
        (
            "angles = exact(positions)[:, None, :, None]",
            "angles = positions.float()[:, None, :, None]",
        ),
        ("angles * exact(self.log_frequencies)", "angles * self.log_frequencies"),
    ),
    slip(
        "grape",
        "vectors that are not perpendicular",
        ("second - along * first", "second"),
    ),
    slip(
        "grape",
        "the part within the plane kept beside its rotation",
        (
            "u * (cosine - 1) - v * sine, v * (cosine - 1) + u * sine",
            "u * cosine - v * sine, v * cosine + u * sine",
        ),
    ),
    slip(
        "grape",
        "one head's planes for all",
        (
            "first, second = upcast(self.axes)",
            "first, second = upcast(self.axes)[:, :1].expand_as(self.axes)",
        ),
    ),
    slip(
        "grape",
        "logarithms of frequencies for frequencies",
        ("exact(self.log_frequencies).exp()", "exact(self.log_frequencies)"),
    ),
    slip(
        "grape",
        "keys rotated by the tables of queries",
        ("return turned(keys, tables[1])", "return turned(keys, tables[0])"),
    ),
    slip(
        "repo",
        "the gate's activation on the content",
        ("F.silu(wide @ gate) * (wide @ content)", "(wide @ gate) * F.silu(wide @ content)"),
    ),
    slip(
        "repo",
        "positions of the first tokens for every query",
        ("state[0][:, tables]", "state[0][:, : len(tables)]"),
    ),
    slip(
        "repo",
        "frequencies of all dimensions for those of pairs",
        ('device="cpu") / pairs', 'device="cpu") / self.shape.head_dim'),
    ),
    slip(
        "repo",
        "keys left where they are",
        (
            "return rotate(keys, rotation(self.angles(state[0].to(upcast(keys).dtype))))",
            "return keys",
        ),
    ),
    slip(
        "repo",
        "rotated keys in the cache",
        ("    tells_order = False\n", "    tells_order = False\n    static_rotation = True\n"),
    ),
    slip(
        "repo",
        "the place in the sequence added",
        ("@ content)) @ out,)", "@ content)) @ out + layout.query_positions[..., None],)"),
    ),
)
