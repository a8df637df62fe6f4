"""Mistakes in latent attention, in experts, and in their maps to DeepSeek's classes."""

from __future__ import annotations

from .mutant import Mutant

LATENT_TESTS = ("tests/model/test_latent.py",)
EXPERT_TESTS = ("tests/model/test_experts.py",)
DEEPSEEK_TESTS = ("tests/interop/test_deepseek.py",)


def latent(mistake: str, *edits: tuple[str, str]) -> Mutant:
    return Mutant(f"latent: {mistake}", "model/latent.py", edits, LATENT_TESTS)


def experts(mistake: str, *edits: tuple[str, str]) -> Mutant:
    return Mutant(f"experts: {mistake}", "model/experts.py", edits, EXPERT_TESTS)


def deepseek(mistake: str, *edits: tuple[str, str]) -> Mutant:
    file = "interop/huggingface/families/deepseek.py"
    return Mutant(f"deepseek: {mistake}", file, edits, DEEPSEEK_TESTS)


MUTANTS: tuple[Mutant, ...] = (
    latent(
        "no norm on the latent",
        ("self.latent_norm(latents)[:, None]", "latents[:, None]"),
    ),
    latent(
        "matrices of keys and values swapped in a decoding step",
        ("to_keys, to_values = self.matrices", "to_values, to_keys = self.matrices"),
    ),
    latent(
        "a decoding step without the rotary part",
        (
            "torch.cat((plain @ to_keys, rotary), -1)",
            "torch.cat((plain @ to_keys, rotary * 0), -1)",
        ),
    ),
    Mutant(
        "latent: scale of the part without positions",
        "model/problem.py",
        (
            (
                "position.softmax_scale or position.shape.score_dim**-0.5",
                "position.softmax_scale or 2**-0.5 * position.shape.decoupled.head_dim**-0.5",
            ),
        ),
        LATENT_TESTS,
    ),
    Mutant(
        "latent: YaRN's factor with the rotary part's scale",
        "positions/rotary.py",
        (
            (
                "score_factor * self.shape.score_dim**-0.5",
                "score_factor * self.shape.head_dim**-0.5",
            ),
        ),
        DEEPSEEK_TESTS,
    ),
    experts(
        "outputs not sorted back",
        ("outputs = outputs[order.argsort()]", "outputs = outputs[order]"),
    ),
    experts("biases weigh experts", ("weights = scores.gather", "weights = chances.gather")),
    experts(
        "groups by their best expert alone",
        ("1 if self.softmax else 2", "1 if self.softmax else 1"),
    ),
    experts("no factor", ("weights * self.scale", "weights")),
    experts(
        "a loss of choices alone",
        ("len(fractions) * (fractions * means)", "(fractions * fractions)"),
    ),
    experts(
        "biases pushed the wrong way",
        ("torch.sign(wide.mean() - wide)", "torch.sign(wide - wide.mean())"),
    ),
    deepseek(
        "keys and values of all heads one after the other",
        ("stored.unflatten(0, (-1, both))[:, :head]),\n", "stored[: config.heads * head]),\n"),
        ("stored.unflatten(0, (-1, both))[:, head:]),\n", "stored[config.heads * head :]),\n"),
    ),
    deepseek(
        "biases lost",
        (
            "yield name, tensors[_stored_bias(name)].float()",
            "yield name, tensors[_stored_bias(name)].float() * 0",
        ),
    ),
)
