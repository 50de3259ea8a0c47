"""What the encoder is given of packed views: their pixels, or what frozen first convolutions make of them."""

from __future__ import annotations

import numpy as np
import torch

from ..model.bitmar import FIRST_LAYERS, BitMar
from ..model.quant import computing, quantize_activation
from .dataset import Views, fingerprint, rows_in_file


def centred(pixels: torch.Tensor, device) -> torch.Tensor:
    """Pixels [B, 3, S, S] of 0 to 255 as the first convolution takes them: -128 to 127, in float."""
    return (pixels.to(device).float() - 128).contiguous(memory_format=torch.channels_last)


class Pixels:
    """What the encoder takes where all of its convolutions learn."""

    first = 0  # of the convolutions that learn

    def __init__(self, views: Views, device):
        self.views, self.device = views, device

    def __call__(self, rows, view) -> torch.Tensor:
        return centred(self.views.pixels(rows, view), self.device)


class FrozenConvolutions:
    """Outputs of the frozen first convolutions as int8 maps, computed once per view, in files named after their weights.

    The next convolution quantises its input map to int8 with one scale, so this loses nothing."""

    first = FIRST_LAYERS

    def __init__(self, model: BitMar, views: Views, device):
        self.model, self.views, self.device = model, views, device
        self.name = f"stem-{fingerprint(model.vision.stem[:FIRST_LAYERS].parameters())}"
        self.shape = self._run(views.pixels([0], 0)).shape[1:]
        self.maps: list[np.ndarray] = []
        self.scales: list[np.ndarray] = []

    def _open(self) -> None:
        """Files for the views that have none yet."""
        for view in range(len(self.maps), self.views.count):
            for arrays, kind, dtype, shape in ((self.maps, "i8", np.int8, self.shape), (self.scales, "f32", np.float32, ())):
                arrays.append(rows_in_file(self.views.file(view, f"{self.name}.{kind}"), dtype, (len(self.views), *shape)))

    def _run(self, pixels):
        """Ternary also where the rest is trained in float."""
        with torch.no_grad(), computing(self.model.vision, ternary=True):
            return self.model.vision.run_stem(centred(pixels, self.device), 0, FIRST_LAYERS)

    def __call__(self, rows, view) -> torch.Tensor:
        self._open()
        rows, view = np.asarray(rows), np.broadcast_to(np.asarray(view), len(rows))
        missing = [i for i in range(len(rows)) if self.scales[view[i]][rows[i]] == 0]
        if missing:
            q, s = quantize_activation(self._run(self.views.pixels(rows[missing], view[missing])), (1, 2, 3))
            for i, maps, scale in zip(missing, q.to(torch.int8).cpu().numpy(), s.flatten().cpu().numpy()):
                self.maps[view[i]][rows[i]], self.scales[view[i]][rows[i]] = maps, scale
        maps, scales = (Views.gather(lambda v, r: arrays[v][r], rows, view).to(self.device) for arrays in (self.maps, self.scales))
        # With the channels last, as convolutions of bfloat16 and norms over the channels are fastest.
        return maps.contiguous(memory_format=torch.channels_last).float() * scales[:, None, None, None]


def inputs_of(model: BitMar, views: Views, whole: bool, device) -> Pixels | FrozenConvolutions:
    return Pixels(views, device) if whole else FrozenConvolutions(model, views, device)
