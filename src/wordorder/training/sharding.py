"""A model split over the ranks by PyTorch's FSDP2: each holds a part of every weight.

A rank holds 1/n of the weights, gradients and optimizer state, and gathers the weights of one block
at a time. Muon needs whole matrices: each rank gathers the momentum of one shape at a time and
orthogonalises it, the same work on every rank. Validation, samples and files use a whole copy of
the weights (`collect`), which every rank keeps in memory. Each rank writes its own part of the rest
of a checkpoint (`parts_of`).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from wordorder.model import TokenModel, make_model
from wordorder.model.parts import ParameterPart
from wordorder.training.average import PREFIX, AveragedWeights
from wordorder.training.compute import DTYPES, Compute, use
from wordorder.training.config import TrainConfig
from wordorder.training.optimizers import (
    MOMENTUM,
    Muon,
    Optimizer,
    by_shape,
    orthogonalise,
    shape_factor,
)
from wordorder.training.parts import RankParts, seen_by_all
from wordorder.training.ranks import Ranks


def split(whole: TokenModel, config: TrainConfig, compute: Compute) -> TokenModel:
    """Return a copy of a model whose weights are split over all ranks."""
    # The losses are summed, never changed in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    model = make_model(whole.config).to(compute.device)
    model.load_state_dict(whole.state_dict())
    model.share_rows(whole.rows)
    model.set_recompute(config.recompute)
    use(model, compute)
    scalars = {p for p in model.parameters() if not p.dim()}  # FSDP2 cannot split them
    for block in getattr(model, "blocks", ()):
        fully_shard(block, ignored_params=scalars)
    fully_shard(model, ignored_params=scalars)
    return model


@torch.no_grad()
def clip_gradients(parameters: Sequence[Tensor], most: float, ranks: int) -> Tensor:
    """Finish the gradients of a step, scale them down to a norm, and return the norm before.

    FSDP2 has averaged the gradients of split weights over the ranks; those of scalars, which every
    rank holds, are averaged here.
    """
    squares = torch.zeros((), device=parameters[0].device)
    gradients = [p.grad for p in parameters if p.grad is not None]
    own = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    for gradient in own:
        dist.all_reduce(gradient)
        gradient /= ranks
    split = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    for gradient in split:
        squares += gradient.square().sum()
    dist.all_reduce(squares)
    norm = (squares + sum(gradient.square() for gradient in own)).sqrt()
    torch._foreach_mul_([*split, *own], (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def collect(model: nn.Module, whole: nn.Module) -> None:
    """Copy split weights into a whole model; all ranks call it together."""
    targets = dict(whole.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            targets[name].copy_(gathered(parameter))


def gathered(value: Tensor) -> Tensor:
    """Return a tensor whole; all ranks call it together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _own_part(value: Tensor, like: DTensor) -> Tensor:
    """Return the rows of a whole tensor that this rank holds of a split one."""
    mesh = like.device_mesh
    parts = value.chunk(mesh.size())
    rank = mesh.get_local_rank()
    return parts[rank] if rank < len(parts) else value[:0]


class SplitMuon(Muon):
    """Muon for split parameters; the saved state is that of `Muon`.

    Args:
        parts: matrices of the whole model, for their shapes and rows.
        parameters: the split parameters, by the identity of the whole ones.
        dtype: dtype of the orthogonalisation.
    """

    def __init__(
        self,
        parts: Sequence[ParameterPart],
        parameters: Mapping[int, DTensor],
        dtype: torch.dtype,
    ) -> None:
        super().__init__((), dtype=dtype)  # allocates no unsplit momentum
        self.groups = by_shape(parts)
        self.split = parameters
        self.momenta = {key: cast(DTensor, torch.zeros_like(p)) for key, p in parameters.items()}

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float = 0.0, *, momentum: float = 0.95) -> None:
        updates = {}
        for key, parameter in self.split.items():
            assert isinstance(parameter.grad, DTensor)
            gradient = parameter.grad.to_local()
            buffer = self.momenta[key].to_local().lerp_(gradient, 1 - momentum)
            update = gradient.lerp(buffer, momentum)
            updates[key] = gathered(_as_part(update, self.momenta[key]))
        for group in self.groups.values():
            matrices = [updates[id(part.parameter)][part.rows] for part in group]
            scale = shape_factor(matrices[0])
            orthogonal = orthogonalise(torch.stack(matrices), self.dtype)
            for matrix, update in zip(matrices, orthogonal.unbind(), strict=True):
                matrix.copy_(update * scale)
        for key, parameter in self.split.items():
            local = parameter.to_local()
            if weight_decay:
                local.mul_(1 - rate * weight_decay)
            local.add_(_own_part(updates[key], parameter), alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save in a checkpoint; all ranks call it together."""
        momenta = {key: gathered(value) for key, value in self.momenta.items()}
        return {
            f"muon.{shape}": torch.stack([momenta[id(p.parameter)][p.rows] for p in group])
            for shape, group in self.groups.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        whole = {key: torch.zeros(value.shape) for key, value in self.momenta.items()}
        for shape, group in self.groups.items():
            for part, saved in zip(group, tensors[f"muon.{shape}"], strict=True):
                whole[id(part.parameter)][part.rows] = saved.cpu()
        for key, value in self.momenta.items():
            value.to_local().copy_(_own_part(whole[key], value))


class SplitOptimizer(Optimizer):
    """Both optimizers of a split model; the saved state is that of `Optimizer`.

    Args:
        whole: the model before it was split.
        model: the same model split.
    """

    muon: SplitMuon

    def __init__(
        self, whole: TokenModel, model: TokenModel, config: TrainConfig, compute: Compute
    ) -> None:
        parts = whole.muon_parts() if config.muon else []
        by_name = dict(model.named_parameters())
        split = {id(p): by_name[name] for name, p in whole.named_parameters()}
        used = {id(p.parameter): cast(DTensor, split[id(p.parameter)]) for p in parts}
        muon = SplitMuon(parts, used, DTYPES[compute.muon_dtype])
        self.matrices = {id(p): name for name, p in whole.named_parameters()}
        super().__init__(
            model,
            muon_dtype=DTYPES[compute.muon_dtype],
            use_muon=config.muon,
            weight_decay=config.weight_decay,
            embedding_rate=config.embedding_rate,
            muon=(muon, used.values()),
        )

    def state(self) -> dict[str, Tensor]:
        """Return the tensors to save in a checkpoint; all ranks call it together."""
        return {name: gathered(value) for name, value in super().state().items()}

    def parts(self) -> dict[str, Tensor]:
        """Return the tensors to save in a checkpoint as they are, split."""
        momenta = {f"{MOMENTUM}{self.matrices[key]}": v for key, v in self.muon.momenta.items()}
        return {**momenta, **self.adam_state()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        super().load_state(tensors)
        for parameter, state in self.adam.state.items():
            for key, value in state.items():
                if value.dim() and not isinstance(value, DTensor):
                    state[key] = _as_split(value, parameter)


class SplitAverage(AveragedWeights):
    """The averaged weights of a split model: each rank averages the parts that it holds.

    Args:
        average: of the whole model.
        model: the same model split.
    """

    def __init__(self, average: AveragedWeights, model: TokenModel) -> None:
        super().__init__(average.kind, {}, exponent=average.exponent, tail=average.tail)
        self.count = average.count
        self.weights = dict(model.named_parameters())
        self.values = {n: _part_of(v, self.weights[n]) for n, v in average.values.items()}

    def current(self) -> list[Tensor]:
        values = [parameter.detach() for parameter in self.weights.values()]
        return [v.to_local() if isinstance(v, DTensor) else v for v in values]

    def tensors(self) -> dict[str, Tensor]:
        """Return the mean by name, whole; all ranks call it together."""
        return {name: gathered(value) for name, value in self.parts().items()}

    def parts(self) -> dict[str, Tensor]:
        """Return the mean by name as it is, split."""
        return {n: _as_part(value, self.weights[n]) for n, value in super().tensors().items()}


def parts_of(
    optimizer: SplitOptimizer, average: SplitAverage | None, folder: Path, ranks: Ranks
) -> RankParts | None:
    """Return a copy of this rank's part of a checkpoint; all ranks call it together.

    None if some rank cannot see the folder, because every rank would have to write to it.
    """
    if not seen_by_all(folder, ranks):
        return None
    tensors = {f"optimizer.{name}": tensor for name, tensor in optimizer.parts().items()}
    if average is not None:
        tensors |= {f"{PREFIX}{name}": tensor for name, tensor in average.parts().items()}
    return RankParts(folder, tensors, ranks.processes_for_files)


def _part_of(value: Tensor, like: Tensor) -> Tensor:
    """Return a copy of the rows of a whole tensor that this rank holds of a weight."""
    return (_own_part(value, like) if isinstance(like, DTensor) else value).clone()


def _as_part(part: Tensor, like: Tensor) -> Tensor:
    """Return a part as a tensor that is split as a weight is."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(
        part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )


def _as_split(value: Tensor, like: Tensor) -> Tensor:
    return _as_part(_part_of(value, like), like)
