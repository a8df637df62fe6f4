"""The weights of a run that is fine-tuned, fitted to a vocabulary with more tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from wordorder.errors import BadInput
from wordorder.model import TokenModel
from wordorder.training.run import Run, misfits, stored_weights


def weights_of(first: Run, model: TokenModel) -> dict[str, Tensor]:
    """Return the weights of another run for a model.

    Tokens that were added for a chat template get rows of their own, which begin as the mean of all
    others: so they are neither likelier nor less likely than an average token.

    Raises:
        BadInput: the other run is damaged, or has another architecture.
    """
    tensors = stored_weights(first.folder / "model.safetensors")
    if added := model.config.vocabulary_size - first.model_config.vocabulary_size:
        expected, size = model.state_dict(), first.model_config.vocabulary_size
        for name, tensor in tensors.items():
            if (
                tensor.shape[:1] == (size,)
                and name in expected
                and (len(expected[name]) == size + added)
            ):
                rows = tensor.mean(0, keepdim=True).expand(added, *tensor.shape[1:])
                tensors[name] = torch.cat((tensor, rows.to(tensor.dtype)))
    if names := misfits(tensors, model):
        raise BadInput(
            f"--init {first.folder} has another architecture ({names[0]} differs): "
            "leave out the options that change the model",
            code="training.init-architecture",
        )
    return tensors
