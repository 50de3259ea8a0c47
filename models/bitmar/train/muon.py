"""Matrices learn by Muon (https://kellerjordan.github.io/posts/muon/), all else by AdamW: the momentum of a matrix's gradient, made orthogonal. A kernel of a
convolution [outputs, inputs, h, w] is a matrix with a row for each output.

Latent weights have to cross a threshold before a ternary one changes. Muon moves all directions of a matrix by the same length, AdamW those
most that the gradients agree on (models/experiments/2026-12-01-muon-for-the-encoder.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..model.quant import BitConv2d, BitLinear


class MuonAndAdamW:
    """Both behind what a Trainer needs of one. `flat` are the matrices of `kernels`, of the same memory."""

    def __init__(self, kernels: list[torch.nn.Parameter], flat: list[torch.nn.Parameter], parts: list[torch.optim.Optimizer]):
        self.kernels, self.flat, self.parts = kernels, flat, parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self) -> None:
        for kernel, flat in zip(self.kernels, self.flat):
            flat.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none=True) -> None:
        for kernel in self.kernels:
            kernel.grad = None
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def muon(parts: Iterable[torch.nn.Module], parameters: Iterable[torch.nn.Parameter], rate: float, decay: float) -> MuonAndAdamW | None:
    """For the parameters that learn: weights of linear layers and convolutions in `parts` by Muon, all others by AdamW. None where PyTorch has no Muon."""
    if not hasattr(torch.optim, "Muon"):
        return None
    parameters = [weight for weight in parameters if weight.requires_grad]
    known = {id(weight) for weight in parameters}
    weights = [layer.weight for part in parts for layer in part.modules() if isinstance(layer, (BitLinear, BitConv2d)) and id(layer.weight) in known]
    kernels = [weight for weight in weights if weight.ndim > 2]
    flat = [torch.nn.Parameter(kernel.detach().view(len(kernel), -1)) for kernel in kernels]
    others = known - {id(weight) for weight in weights}
    of = lambda wide: [weight for weight in parameters if id(weight) in others and (weight.ndim > 1) == wide]
    # Updates of Muon are scaled to the size of AdamW's, so that one rate suits both (arXiv 2502.16982).
    by_muon = torch.optim.Muon([weight for weight in weights if weight.ndim == 2] + flat, lr=rate, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    by_adamw = torch.optim.AdamW([{"params": of(True), "weight_decay": decay}, {"params": of(False), "weight_decay": 0.0}], lr=rate, betas=(0.9, 0.98))
    return MuonAndAdamW(kernels, flat, [by_muon, by_adamw])
