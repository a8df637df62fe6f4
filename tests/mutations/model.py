"""Mistakes in the model around an embedding: positions, masks and biases, caches, training."""

# ruff: noqa: E501  (code is quoted as it stands)

from .mutant import KIT, READING, Mutant, slip

CONTEXT = "tests/model/test_context_length.py"
EVICTION = "tests/model/test_eviction.py"
FLEXIBLE = "tests/model/test_flexible.py::test_it_is_the_plain_road[alibi-False]"
COMPILED = "tests/model/test_compiled.py::test_compiled_alibi_at_positions_that_fall_is_eager"
SINKS = "tests/model/test_sinks.py"
AFTER_A_CACHE = "tests/model/test_flexible.py::test_after_a_cache_it_is_the_plain_road"

MUTANTS = (
    Mutant(
        "position offset by one",
        "model/cache.py",
        (
            (
                "else self.positions[:, -1:] + 1 + steps",
                "else self.positions[:, -1:] + 2 + steps",
            ),
        ),
        (READING, "tests/model/test_decoding.py"),
    ),
    Mutant(
        "scaled by how far a text has come",
        "model/decoding.py",
        (
            ("context_length=self.context_length)", "context_length=0)"),
            ("length = len(prompt) + sampling.max_tokens", "length = len(prompt)"),
        ),
        (CONTEXT,),
    ),
    Mutant(
        "context length lost on the way",
        "model/language_model.py",
        (("context_length=batch.context_length or time", "context_length=time"),),
        (CONTEXT,),
    ),
    Mutant(
        "positions not closed up",
        "model/cache.py",
        (
            (
                "            self.positions = steps[None]",
                "            self.positions = _first_and_last(self.positions, sinks, window)",
            ),
            ("self.consecutive = self.documents is None", "self.consecutive = False"),
        ),
        (EVICTION,),
    ),
    Mutant(
        "values not evicted with their keys",
        "model/cache.py",
        (
            (
                "            for buffer in (self.keys, self.values)\n",
                "            for buffer in (self.keys, self.keys)\n",
            ),
        ),
        (EVICTION,),
    ),
    Mutant(
        "one token more kept than a window",
        "model/decoding.py",
        (
            (
                "self.sinks + self.window + 1 - cache.length)",
                "self.sinks + self.window + 2 - cache.length)",
            ),
        ),
        (EVICTION,),
    ),
    Mutant(
        "bias from the length of the cache",
        "model/bias.py",
        (
            (
                "queries = layout.query_positions[:, rows, None]",
                "queries = layout.query_indices[None, rows, None]",
            ),
            (
                "queries - layout.key_positions[:, None, keys]",
                "queries - torch.arange(self.keys)[None, None, keys]",
            ),
        ),
        (READING, "tests/model/test_fast_paths.py"),
    ),
    Mutant(
        "packed documents see each other",
        "positions/layout.py",
        (
            (
                "(allowed & same & (source >= 0)) | (steps_back == 0)",
                "(allowed & (source >= 0)) | (steps_back == 0)",
            ),
        ),
        (READING, KIT),
    ),
    Mutant(
        "matrices of embeddings left to AdamW",
        "model/token_model.py",
        (
            (
                "for kind in module.matrices if isinstance(module, Position) else ()",
                "for kind in ()",
            ),
        ),
        ("tests/model/test_language_model.py",),
    ),
    Mutant(
        "slopes in a channel whatever positions do",
        "model/additive_mask.py",
        (("bool((layout.key_positions.diff(dim=1) >= 0).all())", "True"),),
        ("tests/model/test_fast_paths.py",),
    ),
    Mutant(
        "compiled, a channel whatever positions do",
        "model/additive_mask.py",
        (("            return layout.consecutive\n", "            return True\n"),),
        (COMPILED,),
    ),
    Mutant(
        "positions drawn at random said to step by one",
        "model/language_model.py",
        (("positions=sampled, consecutive=False", "positions=sampled, consecutive=True"),),
        ("tests/training/test_packing.py",),
    ),
    Mutant(
        "mask from positions in the kernel",
        "model/flexible_attention.py",
        (
            (
                "return layout.may_attend_at(sequence, row, key, mask.window)",
                "text = sequence % len(layout.query_positions)\n"
                "            ahead = layout.query_positions[text, row] < layout.key_positions[text, key]\n"
                "            return layout.may_attend_at(sequence, row, key, mask.window) & ~ahead",
            ),
        ),
        (AFTER_A_CACHE,),
    ),
    Mutant(
        "bias off by one in the kernel",
        "model/flexible_attention.py",
        (("by_distance[head, last - row + key]", "by_distance[head, last - row + key - 1]"),),
        (FLEXIBLE,),
    ),
    Mutant(
        "rows for slots in the kernel",
        "model/flexible_attention.py",
        (("score(value, batch, head, indices[row], key)", "score(value, batch, head, row, key)"),),
        (AFTER_A_CACHE,),
    ),
    Mutant(
        "sinks: left out of the plain kernel",
        "model/plain_attention.py",
        (
            (
                "    return torch.cat((scores, column), -1)\n",
                "    return torch.cat((scores, column - 1e9), -1)\n",
            ),
        ),
        (SINKS,),
    ),
    Mutant(
        "sinks: scaled as scores are",
        "model/fused_attention.py",
        (("_terms(sinks / problem.scale, keys.dtype)", "_terms(sinks, keys.dtype)"),),
        (SINKS,),
    ),
    Mutant(
        "sinks: hidden by the mask",
        "model/fused_attention.py",
        (("F.pad(allowed, (1, 0), value=True)", "F.pad(allowed, (1, 0), value=False)"),),
        (SINKS,),
    ),
    Mutant(
        "sinks: without a gradient",
        "model/plain_attention.py",
        (("to_sinks += to_scores[..., -1].sum", "to_sinks += 0 * to_scores[..., -1].sum"),),
        (SINKS,),
    ),
    Mutant(
        "sinks: with ALiBi's slopes, whose scores miss a constant",
        "model/fused_attention.py",
        (("        and problem.sinks is None\n", ""),),
        (SINKS,),
    ),
    slip(
        "selective",
        "sums go on in the next document",
        ("if layout.key_documents is not None:", "if False:"),
    ),
    Mutant(
        "sums that need products are built",
        "positions/composed.py",
        (("        _check_products(parts)\n", ""),),
        ("tests/positions/test_pairs_of_the_catalogue.py",),
    ),
)
