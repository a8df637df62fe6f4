"""Mistakes in the embeddings of the catalogue, but for rotary and what changes it."""

# ruff: noqa: E501  (code is quoted as it stands)

from .mutant import KIT, Mutant, slip

MUTANTS = (
    Mutant(
        "slopes reversed",
        "positions/alibi.py",
        (("for e in exponents]", "for e in reversed(exponents)]"),),
        ("tests/positions/test_alibi.py", "tests/parity/test_families.py"),
    ),
    Mutant(
        "sign flipped",
        "positions/alibi.py",
        (("return -slopes * distance.abs()", "return slopes * distance.abs()"),),
        ("tests/positions/test_alibi.py", KIT),
    ),
    Mutant(
        "bucket off by one",
        "positions/t5.py",
        (("borders, right=True", "borders, right=False"),),
        ("tests/positions/test_t5.py",),
    ),
    slip(
        "sinusoidal",
        "exponent i/d for 2i/d",
        (
            "self.base ** (-pairs / self.shape.width)",
            "self.base ** (-pairs / 2 / self.shape.width)",
        ),
    ),
    slip(
        "sinusoidal",
        "all sines first",
        ("torch.stack((sine, cosine), dim=-1).flatten(-2)", "torch.cat((sine, cosine), dim=-1)"),
    ),
    slip(
        "sinusoidal",
        "frequencies in float32",
        ("self.shape.width, 2, dtype=torch.float64", "self.shape.width, 2, dtype=torch.float32"),
    ),
    slip(
        "learned",
        "two rows of padding before the first",
        ("torch.empty(rows, shape.width)", "torch.empty(rows + 2, shape.width)"),
        ("embedding(positions, self.weight)", "embedding(positions + 2, self.weight)"),
    ),
    slip(
        "learned",
        "past the table its last row",
        (
            "positions = layout.query_positions\n",
            "positions = layout.query_positions.clamp(max=self.max_position)\n",
        ),
    ),
    slip(
        "learned",
        "counted from 0 in every piece",
        ("positions = layout.query_positions\n", "positions = torch.arange(x.shape[1])[None]\n"),
    ),
    slip(
        "xpos",
        "keys take the scale of queries",
        ("centre - exact(layout.key_positions)", "exact(layout.key_positions) - centre"),
    ),
    slip(
        "xpos",
        "scales about the start of the text",
        ("return ((low + high) / 2).nan_to_num(0.0)", "return torch.zeros_like(low)"),
    ),
    slip(
        "xpos",
        "keys kept about an older centre",
        ('    door = "query-key"\n', '    door = "query-key"\n    static_rotation = True\n'),
    ),
    slip(
        "axial",
        "columns before rows",
        ("(row, positions - row * self.columns)", "(positions - row * self.columns, row)"),
    ),
    slip(
        "axial",
        "turns read as runs",
        (
            "self._interleaved_axes() if interleaved else self._contiguous_axes()",
            "self._contiguous_axes()",
        ),
    ),
    slip(
        "axial",
        "text stands at 0 on the other axes",
        (
            "positions[..., None].expand(-1, -1, self.axes)",
            "torch.nn.functional.pad(positions[..., None], (0, self.axes - 1))",
        ),
    ),
    slip(
        "kerple",
        "numbers may turn negative",
        (
            "first, second = upcast(self.raw1).exp(), upcast(self.raw2)",
            "first, second = upcast(self.raw1), upcast(self.raw2)",
        ),
        ("return first, second.exp()", "return first, second"),
        ('(p if self.kernel == "log" else a).log()', '(p if self.kernel == "log" else a)'),
        ('a.log() if self.kernel == "log"', 'a if self.kernel == "log"'),
    ),
    slip(
        "kerple",
        "logarithm of 0 at distance 0",
        ("(r2 * distance).log1p()", "(r2 * distance).log()"),
    ),
    slip(
        "kerple",
        "power without a bound",
        ("MOST_EXPONENT * second.sigmoid()", "second.exp()"),
        ("(p / MOST_EXPONENT).logit(eps=1e-3)", "p.log()"),
    ),
    slip(
        "fire",
        "the text's length divides",
        (
            "torch.maximum(tables.to(c.dtype), least)",
            "torch.maximum(tables.amax(1, True).expand_as(tables).to(c.dtype), least)",
        ),
    ),
    slip(
        "fire",
        "logarithm on one side",
        (
            "torch.maximum(tables.to(c.dtype), least)).log1p()",
            "torch.maximum(tables.to(c.dtype), least))",
        ),
    ),
    slip(
        "fire",
        "min with the threshold for max",
        ("torch.maximum(tables.to(c.dtype), least)", "torch.minimum(tables.to(c.dtype), least)"),
    ),
    slip(
        "sandwich",
        "angles summed without their cosine",
        ("** (-2 * k / self.dimensions)).sin().square()", "** (-2 * k / self.dimensions)).abs()"),
    ),
    Mutant(
        "tables as far as before",
        "positions/defaults.py",
        (("return max(1, int(shrunk(REACH, REACH_LENGTH, trained_length)))", "return REACH"),),
        ("tests/positions/test_defaults.py", "tests/extension/test_methods.py"),
    ),
    Mutant(
        "sandwich: few heads without a steep one",
        "positions/sandwich.py",
        (("heads >= PAPERS_HEADS)", "heads >= 1)"),),
        ("tests/positions/test_defaults.py",),
    ),
    slip(
        "sandwich",
        "heads in the other order",
        ("-(fall / scales.view", "-(fall / scales.flip(0).view"),
    ),
    slip(
        "sandwich",
        "the model's width for dimensions",
        ("self.dimensions = dimensions", "self.dimensions = shape.width"),
    ),
    slip(
        "relative",
        "key minus query",
        ("distance.long().clamp", "(-distance).long().clamp"),
    ),
    slip(
        "relative",
        "clipped one early",
        (
            ".clamp(-self.future, self.resolved_clip)",
            ".clamp(-self.future, self.resolved_clip - 1)",
        ),
    ),
    slip(
        "shaw",
        "query minus key",
        ("queries @ (weight.to(queries.dtype)", "queries @ (weight.flip(0).to(queries.dtype)"),
    ),
    slip(
        "shaw",
        "clipped at k - 1",
        ("(-distance).clamp(-clip, clip)", "(-distance).clamp(1 - clip, clip - 1)"),
        ("products[..., :1], products[..., -1:]", "products[..., 1:2], products[..., -2:-1]"),
    ),
    slip(
        "shaw",
        "vectors' products not scaled",
        ("(weight.to(queries.dtype) * queries.shape[-1] ** -0.5)", "weight.to(queries.dtype)"),
    ),
    slip(
        "shaw",
        "vectors of values forgotten",
        ("extra_output=mixed_vectors,", "extra_output=None,"),
    ),
    slip(
        "shaw",
        "vectors of values mirrored",
        (
            "vectors = self.value_weight.to(products.dtype)",
            "vectors = self.value_weight.flip(0).to(products.dtype)",
        ),
    ),
    slip(
        "transformer-xl",
        "u for both biases",
        ("(queries + self.position_bias[:, None])", "(queries + self.content_bias[:, None])"),
    ),
    slip(
        "transformer-xl",
        "shifted across gaps",
        ("_by_distance if sinusoids.consecutive and many", "_by_distance if many"),
    ),
    slip(
        "transformer-xl",
        "shift off by one",
        ("count - 1 : count - 1 + count * width", "count : count + count * width"),
    ),
    slip(
        "deberta",
        "scale of one term",
        ("return (3 * self.shape.head_dim) ** -0.5", "return self.shape.score_dim**-0.5"),
    ),
    slip(
        "deberta",
        "position to content not transposed",
        (
            "table[: span - nearest + 1]",
            "table[2 * span - torch.arange(span - nearest + 1).clamp(min=1)]",
        ),
    ),
    slip(
        "deberta",
        "terms of positions not scaled",
        (
            "upcast(queries) * self.softmax_scale, upcast(keys) * self.softmax_scale",
            "upcast(queries), upcast(keys)",
        ),
    ),
    slip(
        "forgetting",
        "gates summed in bfloat16",
        (
            'gates.cumsum(1, dtype=torch.float32 if x.device.type == "mps" else torch.float64)',
            "gates.cumsum(1, dtype=torch.bfloat16)",
        ),
    ),
    slip(
        "forgetting",
        "gates from keys",
        (
            "sums = state.transpose(1, 2)",
            "sums = F.logsigmoid(keys.sum(-1)).to(state.dtype).cumsum(-1)",
        ),
    ),
    slip(
        "forgetting",
        "sums begun anew after a cache",
        ("return sums if previous is None else previous[:, -1:] + sums", "return sums"),
    ),
    slip(
        "cope",
        "summed from the start of the text",
        ("gates.flip(-1).cumsum(-1).flip(-1)", "gates.cumsum(-1)"),
    ),
    slip(
        "cope",
        "rounded to a row",
        (
            "return low + (positions - below) * (high - low)",
            "return at_integers.gather(-1, positions.detach().round().long())",
        ),
    ),
    slip(
        "cope",
        "hidden keys are counted",
        ("scores.sigmoid() * tile.of(may_attend)", "scores.sigmoid()"),
    ),
    slip(
        "dape",
        "a network for each head",
        (
            "        # The constant is one more input",
            "        own = torch.stack([scores] if bias is None else [scores, bias.expand_as(scores)], -1)\n"
            "        own = torch.einsum('bhqkn,mnh->bhqkm', own, input_weight.view(self.hidden, -1, scores.shape[1]))\n"
            "        own = torch.einsum('bhqkm,hm->bhqk', F.leaky_relu(own + input_bias), output_weight)\n"
            "        return own + output_bias[:, None, None]\n"
            "        # The constant is one more input",
        ),
    ),
    slip(
        "dape",
        "the network does not see the bias",
        ("self.correction(scores, bias)", "self.correction(scores, 0 * bias)"),
    ),
    slip(
        "path",
        "the key's own transformation too",
        ("(scaled @ keys.mT).tril(-1)", "(scaled @ keys.mT).tril()"),
    ),
    slip(
        "path",
        "transformations in the model's dtype",
        ("        x = upcast(x)\n", ""),
    ),
    slip(
        "path",
        "padding transforms",
        ("betas = betas * (layout.query_documents >= 0)[..., None]", "betas = betas * 1"),
    ),
    Mutant(
        "convolved across documents",
        "positions/short_convolution.py",
        (("torch.where(document == document[..., :1], indices, -1)", "indices"),),
        ("tests/positions/test_path.py",),
    ),
    slip(
        "pope",
        "scale of the doubled width",
        ("return self.shape.score_dim**-0.5", "return (2 * self.shape.head_dim) ** -0.5"),
    ),
    slip(
        "pope",
        "frequencies of pairs",
        (
            "return self.resolved_base**-exponent",
            "return self.resolved_base ** -exponent[::2].repeat_interleave(2)",
        ),
    ),
    slip(
        "pope",
        "offset of the other sign",
        (
            "offset_cosine, offset_sine = offsets.cos(), offsets.sin()",
            "offset_cosine, offset_sine = offsets.cos(), -offsets.sin()",
        ),
    ),
    slip(
        "selective",
        "angles summed in float32",
        ('steps if steps.device.type == "mps" else steps.double()', "steps"),
    ),
    slip(
        "selective",
        "sums begun anew after a cache",
        ("angles = angles + previous[0][:, -1:].to(angles.dtype)", "pass"),
    ),
    slip(
        "selective",
        "padding adds an angle",
        ("steps = steps * (layout.query_documents >= 0)[..., None, None]", "pass"),
    ),
    slip(
        "randomized",
        "drawn and not sorted",
        ("        draw = draw.sort().values\n", ""),
    ),
    slip(
        "randomized",
        "drawn with repeats",
        (
            "torch.randperm(limit, generator=generator)[:count]",
            "torch.randint(limit, (count,), generator=generator)",
        ),
    ),
    slip(
        "randomized",
        "a draw for each row",
        (
            "        return draw.to(positions.device)[positions]\n",
            "        draws = [torch.randperm(limit, generator=generator)[:count] for _ in positions]\n"
            "        return torch.stack([d.sort().values[row] for d, row in zip(draws, positions)])\n",
        ),
    ),
    slip(
        "offset",
        "one for all rows",
        ("shape = len(positions), ", "shape = 1, "),
        ("offsets.gather(1, document)", "offsets.expand(len(document), -1).gather(1, document)"),
    ),
    slip(
        "offset",
        "the largest is never drawn",
        ("torch.randint(most + 1, shape", "torch.randint(most, shape"),
    ),
    slip(
        "offset",
        "one for all documents of a row",
        ("document = begins.cumsum(1)", "document = 0 * begins.cumsum(1)"),
    ),
)
