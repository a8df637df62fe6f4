"""Muon for the hidden matrices, AdamW for everything else, and what they must save.

Muon's momentum is orthogonalised, so that every direction of a matrix moves as fast as
every other. Matrices of one shape are stacked and orthogonalised in one batched product:
on a small model the many small products are otherwise the slowest part of a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import BadInput
from ..model.token_model import ParameterPart, TokenModel

# Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
RATES_CHOSEN_AT_WIDTH = 128


def orthogonalise(matrices: Tensor, dtype: torch.dtype, rounds: int = 5) -> Tensor:
    """Return matrices (count, rows, columns) with all singular values brought near 1.

    Args:
        dtype: of the products; bfloat16 where the machine is faster at it.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(dtype)
    for _ in range(rounds):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).float()


class Muon:
    """Momentum, orthogonalised by shape.

    Args:
        parts: matrices, whole parameters or rows of them; those of one shape move at once.
        dtype: of the orthogonalisation.
    """

    def __init__(
        self,
        parts: Sequence[ParameterPart],
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        self.groups: dict[str, list[ParameterPart]] = {}
        for part in parts:
            self.groups.setdefault("x".join(map(str, part.value.shape)), []).append(part)
        self.buffers = {
            shape: torch.stack([torch.zeros_like(part.value) for part in group])
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float = 0.0, *, momentum: float = 0.95) -> None:
        """Move every matrix by `rate`, its shape's scale included.

        Args:
            momentum: of the running mean of gradients, in Nesterov's form.
        """
        for shape, group in self.groups.items():
            weights = [part.value for part in group]
            gradients = torch.stack([part.parameter.grad[part.rows] for part in group])
            buffer = self.buffers[shape].lerp_(gradients, 1 - momentum)
            update = orthogonalise(gradients.lerp_(buffer, momentum), self.dtype)
            rows, columns = weights[0].shape
            scale = max(1.0, rows / columns) ** 0.5
            if weight_decay:
                torch._foreach_mul_(weights, 1 - rate * weight_decay)
            torch._foreach_add_(weights, list(update.unbind()), alpha=-rate * scale)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds."""
        return {f"muon.{shape}": buffer for shape, buffer in self.buffers.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors that `state` gave.

        Raises:
            BadInput: those of other matrices.
        """
        for shape, buffer in self.buffers.items():
            saved = tensors.get(f"muon.{shape}")
            if saved is None or saved.shape != buffer.shape:
                raise BadInput(
                    "an older wordorder began this run and trained matrices of its positional "
                    "embedding with AdamW, where this one takes Muon: train it anew"
                )
            buffer.copy_(saved)


def embedding_rate_for(multiplier: float) -> float:
    """Return the share of AdamW's rate at which the embedding table learns.

    A step of AdamW moves a word vector by its rate times what words are multiplied by, the square
    root of the width: at one rate, words of a wide model would move further in a step than those
    of a narrow one. The rate was chosen at a width of 128.
    """
    return min(1.0, RATES_CHOSEN_AT_WIDTH**0.5 / multiplier)


class Optimizer:
    """Both optimizers of one model, stepped and saved as one.

    Args:
        embedding_rate: share of AdamW's rate at which the embedding table learns; 0: see
            `embedding_rate_for`.
    """

    def __init__(
        self,
        model: TokenModel,
        *,
        muon_dtype: torch.dtype,
        use_muon: bool,
        weight_decay: float,
        embedding_rate: float = 0.0,
    ) -> None:
        parts = model.muon_parts() if use_muon else []
        own = {id(part.parameter) for part in parts}
        rest = [(n, p) for n, p in model.named_parameters() if id(p) not in own]
        self.weight_decay = weight_decay
        self.muon = Muon(parts, dtype=muon_dtype)
        self.names = [n for n, _ in rest]
        table = model.embedding.weight
        share = embedding_rate or embedding_rate_for(model.config.embedding_scale)
        decayed = [p for _, p in rest if p.dim() >= 2 and p is not table]
        plain = [p for _, p in rest if p.dim() < 2]
        self.parameters = list(model.parameters())
        groups = [
            {"params": [table], "weight_decay": weight_decay, "share": share},
            {"params": decayed, "weight_decay": weight_decay, "share": 1.0},
            {"params": plain, "weight_decay": 0.0, "share": 1.0},
        ]
        groups = [group for group in groups if group["params"]]
        self.adam = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=1e-10, fused=True)
        self.by_name = dict(rest)

    def step(self, *, matrix_rate: float, rate: float, momentum: float = 0.95) -> None:
        """Update every weight from its gradient."""
        for group in self.adam.param_groups:
            group["lr"] = rate * group["share"]
        self.adam.step()
        self.muon.step(matrix_rate, self.weight_decay, momentum=momentum)

    def zero_gradients(self) -> None:
        for p in self.parameters:
            p.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint holds, by name."""
        tensors = self.muon.state()
        for name, p in self.by_name.items():
            for key, value in self.adam.state.get(p, {}).items():
                tensors[f"adam.{name}.{key}"] = value
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors that `state` gave."""
        self.muon.load_state(tensors)
        for name, p in self.by_name.items():
            prefix = f"adam.{name}."
            found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if found:
                self.adam.state[p] = {k: v.to(p.device) for k, v in found.items()}
