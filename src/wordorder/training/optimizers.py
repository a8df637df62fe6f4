"""Muon for the hidden matrices and AdamW for all other weights, with their saved state.

Muon orthogonalises the momentum, so that every direction of a matrix moves at the same rate.
Matrices of the same shape are stacked and orthogonalised in batched products: on a small model many
small products would be the slowest part of a step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from ..errors import BadInput
from ..model.parts import ParameterPart
from ..model.token_model import TokenModel

# Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
NEWTON_SCHULZ, NEWTON_SCHULZ_ROUNDS = (3.4445, -4.7750, 2.0315), 5
RATES_CHOSEN_AT_WIDTH = 128
MOMENTUM = "momentum."  # of the names of a parameter's momentum in the parts of a split model


def orthogonalise(
    matrices: Tensor, dtype: torch.dtype, rounds: int = NEWTON_SCHULZ_ROUNDS
) -> Tensor:
    """Return matrices with all singular values near 1, by Newton-Schulz iterations.

    Args:
        matrices: float32 (count, rows, columns).
        dtype: dtype of the products; bfloat16 if it is faster.
        rounds: number of iterations.
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


def by_shape(parts: Sequence[ParameterPart]) -> dict[str, list[ParameterPart]]:
    """Return matrices by their shape, as in "64x32"."""
    groups: dict[str, list[ParameterPart]] = {}
    for part in parts:
        groups.setdefault("x".join(map(str, part.value.shape)), []).append(part)
    return groups


def shape_factor(matrix: Tensor) -> float:
    """Return the factor of the learning rate of a matrix: sqrt(rows / columns) if it is tall."""
    rows, columns = matrix.shape
    factor: float = max(1.0, rows / columns) ** 0.5
    return factor


class Muon:
    """The Muon optimizer, batched over matrices of the same shape.

    Args:
        parts: matrices: whole parameters, or rows of them.
        dtype: dtype of the orthogonalisation.

    Attributes:
        orthogonalised: yields the orthogonalised matrices of each shape from those that it is
            given; ranks that share the work replace it.
    """

    def __init__(
        self,
        parts: Sequence[ParameterPart],
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        self.orthogonalised = self._orthogonalised
        self.groups = by_shape(parts)
        self.buffers = {
            shape: torch.stack([torch.zeros_like(part.value) for part in group])
            for shape, group in self.groups.items()
        }

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float = 0.0, *, momentum: float = 0.95) -> None:
        """Update every matrix.

        Args:
            rate: learning rate, multiplied by sqrt(rows / columns) for tall matrices.
            momentum: momentum of the running mean of gradients, in Nesterov's form.
        """
        for shape, updates in self.orthogonalised(self._directions(momentum)):
            weights = [part.value for part in self.groups[shape]]
            scale = shape_factor(weights[0])
            if weight_decay:
                torch._foreach_mul_(weights, 1 - rate * weight_decay)
            torch._foreach_add_(weights, list(updates), alpha=-rate * scale)

    def _directions(self, momentum: float) -> Iterator[tuple[str, Tensor]]:
        """Update the momentum, and yield the directions of all matrices of each shape."""
        for shape, group in self.groups.items():
            rows = []
            for part in group:
                assert part.parameter.grad is not None
                rows.append(part.parameter.grad[part.rows])
            gradients = torch.stack(rows)
            buffer = self.buffers[shape].lerp_(gradients, 1 - momentum)
            yield shape, gradients.lerp_(buffer, momentum)

    def _orthogonalised(
        self, directions: Iterator[tuple[str, Tensor]]
    ) -> Iterator[tuple[str, Sequence[Tensor]]]:
        for shape, matrices in directions:
            yield shape, orthogonalise(matrices, self.dtype).unbind()

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save in a checkpoint."""
        return {f"muon.{shape}": buffer for shape, buffer in self.buffers.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Restore the tensors that `state` returned.

        Raises:
            BadInput: the tensors are of other matrices.
        """
        for shape, buffer in self.buffers.items():
            saved = tensors.get(f"muon.{shape}")
            if saved is None or saved.shape != buffer.shape:
                raise BadInput(
                    "an older wordorder started this run, and trained matrices of its positional "
                    "embedding with AdamW; this version uses Muon: train the run again",
                    code="training.older-optimizer",
                )
            buffer.copy_(saved)


class FusedAdamW:
    """PyTorch's fused AdamW: `torch.optim.AdamW` imports the compiler, which takes a second.

    Args:
        groups: each with its `params` and `weight_decay`, and before a step its `lr`.

    Attributes:
        param_groups: the groups.
        state: for each parameter, the number of its steps and the two running means.
    """

    BETAS, EPSILON = (0.9, 0.95), 1e-10

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self.param_groups = groups
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            states = [self._state_of(p) for p in parameters]
            adamw(
                parameters,
                [p.grad for p in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=self.BETAS[0],
                beta2=self.BETAS[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=self.EPSILON,
                maximize=False,
            )

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


def embedding_rate_for(multiplier: float) -> float:
    """Return the token embedding's learning rate as a share of AdamW's.

    Token embeddings are multiplied by the square root of the width, and so is their change in a
    step of AdamW: at the same learning rate they would change more in a wide model than in a
    narrow one. The rate was chosen at a width of 128.
    """
    return min(1.0, RATES_CHOSEN_AT_WIDTH**0.5 / multiplier)


class Optimizer:
    """Both optimizers of one model, updated and saved together.

    Args:
        muon_dtype: dtype of Muon's orthogonalisation.
        use_muon: use Muon for the hidden matrices; otherwise AdamW for all weights.
        weight_decay: decoupled weight decay of matrices.
        embedding_rate: learning rate of the token embedding as a share of AdamW's; 0: see
            `embedding_rate_for`.
        muon: an optimizer of the hidden matrices, and their parameters; None: `Muon`.
    """

    def __init__(
        self,
        model: TokenModel,
        *,
        muon_dtype: torch.dtype,
        use_muon: bool,
        weight_decay: float,
        embedding_rate: float = 0.0,
        muon: tuple[Muon, Collection[Tensor]] | None = None,
    ) -> None:
        if muon is None:
            parts = model.muon_parts() if use_muon else []
            muon = (Muon(parts, dtype=muon_dtype), [part.parameter for part in parts])
        self.muon, matrices = muon
        muon_ids = {id(parameter) for parameter in matrices}
        rest = [(n, p) for n, p in model.named_parameters() if id(p) not in muon_ids]
        self.weight_decay = weight_decay
        self.names = [n for n, _ in rest]
        table = model.embedding.weight
        share = embedding_rate or embedding_rate_for(model.config.embedding_scale)
        biases = {id(p) for n, p in rest if n.startswith("blocks.") and n.endswith(".bias")}
        plain = [p for _, p in rest if p.dim() < 2 or id(p) in biases]  # experts' biases are 2-d
        decayed = [p for _, p in rest if p.dim() >= 2 and p is not table and id(p) not in biases]
        self.parameters = list(model.parameters())
        groups = [
            {"params": [table], "weight_decay": weight_decay, "share": share},
            {"params": decayed, "weight_decay": weight_decay, "share": 1.0},
            {"params": plain, "weight_decay": 0.0, "share": 1.0},
        ]
        groups = [group for group in groups if group["params"]]
        self.adam = FusedAdamW(groups)
        self.by_name = dict(rest)
        self.names_of_all = {id(p): n for n, p in model.named_parameters()}

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
        """Return the tensors to save in a checkpoint, by name."""
        return {**self.muon.state(), **self.adam_state()}

    def adam_state(self) -> dict[str, Tensor]:
        """Return the tensors of AdamW, by name."""
        return {
            f"adam.{name}.{key}": value
            for name, p in self.by_name.items()
            for key, value in self.adam.state.get(p, {}).items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Restore the tensors that `state` returned, or those of a split model's parts."""
        self.muon.load_state(self._with_stacked_momentum(tensors))
        for name, p in self.by_name.items():
            prefix = f"adam.{name}."
            saved = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if saved:
                self.adam.state[p] = {k: v.to(p.device) for k, v in saved.items()}

    def _with_stacked_momentum(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors with Muon's momentum by shape, if it is there by parameter."""
        if not any(name.startswith(MOMENTUM) for name in tensors):
            return tensors
        stacked = dict(tensors)
        for shape, group in self.muon.groups.items():
            names = (f"{MOMENTUM}{self.names_of_all[id(part.parameter)]}" for part in group)
            momenta = [tensors[n][part.rows] for n, part in zip(names, group, strict=True)]
            stacked[f"muon.{shape}"] = torch.stack(momenta)
        return stacked
