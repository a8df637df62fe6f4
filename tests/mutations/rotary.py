"""Mistakes in rotary, in what scales its frequencies, and in Self-Extend."""

# ruff: noqa: E501  (code is quoted as it stands)

from .mutant import KIT, Mutant

SCALINGS = "tests/parity/test_rotary_scalings.py"
CONTEXT = "tests/model/test_context_length.py"
DEFAULTS = "tests/positions/test_defaults.py"
OLDER = "tests/model/test_older_records.py"
SELF_EXTEND = "tests/positions/test_self_extend.py"

MUTANTS = (
    Mutant(
        "pairing swapped",
        "positions/rotary.py",
        (
            (
                '{"interleaved": rotate, "half": rotate_halves}',
                '{"half": rotate, "interleaved": rotate_halves}',
            ),
        ),
        ("tests/positions/test_rotary.py", "tests/parity/test_qwen3.py"),
    ),
    Mutant(
        "base ignored",
        "positions/rotary.py",
        (("frequencies = self.resolved_base**-exponent", "frequencies = 10000.0**-exponent"),),
        ("tests/positions/test_rotary.py", KIT, "tests/parity/test_families.py"),
    ),
    Mutant(
        "frequencies kept by the class, for the first base",
        "positions/rotary.py",
        (
            (
                "frequencies = self.resolved_base**-exponent",
                "frequencies = kept(self.shape.head_dim, self.resolved_base)**-exponent",
            ),
            (
                "class Rotary(",
                "def kept(size, base, bases={}):\n    return bases.setdefault(size, base)\n\n\nclass Rotary(",
            ),
        ),
        (KIT,),
    ),
    Mutant(
        "base not of the trained length",
        "positions/defaults.py",
        (("return shrunk(ROTARY_BASE, ROTARY_LENGTH, trained_length)", "return ROTARY_BASE"),),
        (DEFAULTS, "tests/extension/test_methods.py"),
    ),
    Mutant(
        "base follows a longer text",
        "positions/rotary.py",
        (
            (
                'values = {"base": self.resolved_base, **self.rescale.keywords}',
                "values = {**self.rescale.keywords}",
            ),
        ),
        ("tests/extension/test_methods.py",),
    ),
    Mutant(
        "an older record takes a newer base",
        "model/config.py",
        (('recorded(values["position"], generation)', 'values["position"]'),),
        (OLDER,),
    ),
    Mutant(
        "YaRN's ramp of 4,096 tokens at any length",
        "positions/defaults.py",
        (("return max(FEWEST_TURNS, YARN_TURNS * share)", "return YARN_TURNS"),),
        (DEFAULTS, "tests/extension/test_methods.py"),
    ),
    Mutant(
        "cache keyed without the base",
        "positions/rotary.py",
        (
            (
                "frequencies = self.resolved_base**-exponent",
                "frequencies = KEPT.setdefault(len(exponent), self.resolved_base**-exponent)",
            ),
            ("LAYOUTS = {", "KEPT: dict = {}\nLAYOUTS = {"),
        ),
        ("tests/positions/test_rotary.py", KIT),
    ),
    Mutant(
        "angles in bfloat16",
        "positions/angles.py",
        (
            (
                "angles = angles * frequencies.to(angles.device)",
                "angles = angles.bfloat16() * frequencies.to(angles.device).bfloat16()",
            ),
        ),
        ("tests/positions/test_rotary.py", KIT),
    ),
    Mutant(
        "ramp inverted",
        "positions/rotary_scaling.py",
        (
            (
                "frequencies * (1 - share) + frequencies / factor * share",
                "frequencies * share + frequencies / factor * (1 - share)",
            ),
        ),
        (SCALINGS, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "ends of the ramp always rounded",
        "positions/rotary_scaling.py",
        (("    if truncate:\n", "    if True:\n"),),
        ("tests/parity/test_truncate.py",),
    ),
    Mutant(
        "temperature twice",
        "positions/rotary.py",
        (
            (
                "else score_factor * self.shape.score_dim",
                "else score_factor * score_factor * self.shape.score_dim",
            ),
        ),
        (SCALINGS, "tests/positions/test_rotary_scaling.py", "tests/positions/test_rotary.py"),
    ),
    Mutant(
        "temperature forgotten",
        "positions/rotary.py",
        (("return None if score_factor == 1 else", "return None if score_factor != 1 else"),),
        (SCALINGS, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "exponent of NTK over the head",
        "positions/rotary_scaling.py",
        (("    last = max(len(frequencies) - 1, 1)", "    last = len(frequencies)"),),
        (SCALINGS, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "keys kept rotated as contexts grow",
        "positions/rotary.py",
        (
            (
                'self.static_rotation = "context_length" not in rotary_scaling.parameters_of(scaling)',
                "self.static_rotation = True",
            ),
        ),
        (CONTEXT, "tests/positions/test_rotary_scaling.py"),
    ),
    Mutant(
        "shift of far queries forgotten",
        "positions/self_extend.py",
        (("self.shift = self.near - self.near // group", "self.shift = 0"),),
        (SELF_EXTEND,),
    ),
    Mutant(
        "groups of slots",
        "positions/self_extend.py",
        (
            (
                "positions = layout.key_positions\n",
                "positions = torch.arange(layout.key_positions.shape[1])[None]\n",
            ),
        ),
        (SELF_EXTEND, KIT),
    ),
    Mutant(
        "neighbours one too many",
        "positions/self_extend.py",
        ((">= self.near)", "> self.near)"),),
        (SELF_EXTEND,),
    ),
    Mutant(
        "original length from the context",
        "positions/rotary.py",
        (
            (
                "return self.rescale(frequencies, context_length=context_length)",
                "return self.rescale(frequencies, context_length=context_length, original_length=max(2, context_length))",
            ),
        ),
        ("tests/positions/test_rotary_scaling.py", "tests/positions/test_rotary.py"),
    ),
)
