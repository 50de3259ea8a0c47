"""Writes a model directory that the engine loads, and reads one back.

usage: python -m bitmar.export --checkpoint X.pt --tokenizer tokenizer.json --out models/default

X.pt holds {"config": ..., "model": state_dict}. The forms in model.safetensors:
  BitLinear X.weight      U8 [out/4, in], code = t + 1; row i * (out/4) + r in bits 2i..2i+1 of packed row r
            X.weight_scale  F32 [1], gamma: y = acc * activation_scale * gamma (a factor, not a divisor)
  ternary convolution     the same, for the matrix [out, kh * kw * in] with `in` fastest
  int8 convolution        I8 [out, kh * kw * in], weight_scale F32 [out]
  embedding               I8 [V, d], weight_scale F32 [V]
  everything else         F32 as it is
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from .. import earlier
from .bitmar import BitMar, load_config
from .quant import BitConv2d, BitLinear, Precision, quantize_rows, quantize_weight, set_bits, set_precision

LIMIT = 12 << 20  # bytes of model.safetensors: what a web page may ask a visitor to download


def pack_ternary(t: np.ndarray) -> np.ndarray:
    """int8 [out, in] in {-1, 0, 1} -> uint8 [out / 4, in]"""
    rows = len(t) // 4
    if rows * 4 != len(t):
        raise ValueError(f"{len(t)} output rows cannot be packed four to a byte")
    codes = (t + 1).astype(np.uint8).reshape(4, rows, -1)
    return codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6


def unpack_ternary(packed: np.ndarray) -> np.ndarray:
    return np.concatenate([(packed >> 2 * i & 3).astype(np.int8) - 1 for i in range(4)])


def matrix_of(weight: torch.Tensor) -> torch.Tensor:
    """Convolution weights [out, in, kh, kw] -> [out, kh * kw * in]; matrices stay as they are."""
    return weight.permute(0, 2, 3, 1).flatten(1) if weight.dim() == 4 else weight


def model_tensors(model: BitMar) -> dict[str, np.ndarray]:
    """Every tensor of model.safetensors by name."""
    layers, tensors = dict(model.named_modules()), {}
    for name, value in model.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        layer, value = layers[owner], value.detach().cpu().float()
        if leaf == "weight" and (layer is model.embedding or getattr(layer, "int8_weights", False)):
            q, scale = quantize_rows(matrix_of(value))
            tensors[name], tensors[name + "_scale"] = q.numpy().astype(np.int8), scale[:, 0].contiguous().numpy()
        elif leaf == "weight" and isinstance(layer, (BitLinear, BitConv2d)):
            t, gamma = quantize_weight(matrix_of(value))
            tensors[name], tensors[name + "_scale"] = pack_ternary(t.numpy().astype(np.int8)), gamma.reshape(1).numpy()
        else:
            tensors[name] = value.contiguous().numpy()
    return tensors


def export_model(model: BitMar, tokenizer: Path, out: Path, limit: int = LIMIT) -> int:
    """Writes the directory; returns the bytes of model.safetensors."""
    config, out = model.config, Path(out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "model.safetensors"
    # Widest elements first, as the library writes them: every tensor is aligned and no byte is padding.
    save_file(model_tensors(model), file)
    if (size := file.stat().st_size) > limit:
        file.unlink()
        raise ValueError(f"the weights take {size} bytes, more than {limit}")

    def document(name, content):
        (out / name).write_text(json.dumps(content, indent=2) + "\n")

    document("config.json", config)
    side = config["vision"].get("image_size", 0)
    document("preprocessor_config.json", {
        "image_processor_type": "BitMarImageProcessor",
        "do_resize": True, "size": {"height": side, "width": side}, "resample": 2,  # Pillow's BILINEAR, no crop
        "do_center_crop": False, "do_convert_rgb": True,
        "do_rescale": False, "do_normalize": False,
        "pixel_offset": -128,  # the first convolution takes uint8 pixels minus this, as int8
    })
    if Path(tokenizer).resolve() != (out / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer, out / "tokenizer.json")
    return size


def latent_ternary(t: np.ndarray, gamma: float) -> torch.Tensor:
    """Weights that quantise back to exactly t with mean|W| = gamma: t * gamma / (share of non-zeros)."""
    share = np.count_nonzero(t) / t.size
    return torch.from_numpy(t.astype(np.float32) * np.float32(gamma / share if share else 0))


def import_model(directory: Path) -> BitMar:
    """The exported model back in PyTorch; it computes what the engine computes."""
    config = load_config(Path(directory) / "config.json")
    tensors = earlier.state(load_file(Path(directory) / "model.safetensors"))
    model = BitMar(config).requires_grad_(False)
    layers, state = dict(model.named_modules()), {}
    for name, wanted in model.state_dict().items():
        value, scale, fixed = tensors[name], tensors.get(name + "_scale"), None
        if value.dtype == np.uint8:
            t = unpack_ternary(value)
            fixed, value = torch.from_numpy(t.astype(np.float32)), latent_ternary(t, float(scale[0]))
        elif value.dtype == np.int8:
            fixed = torch.from_numpy(value.astype(np.float32))
            value = fixed * torch.from_numpy(scale.copy())[:, None]
        else:
            value = torch.from_numpy(value.copy())
        if wanted.dim() == 4:
            out, inputs, height, width = wanted.shape
            value, fixed = (v.reshape(out, height, width, inputs).permute(0, 3, 1, 2).contiguous()
                            for v in (value, fixed))
        if fixed is not None:  # the file's own numbers, not what rounding the latent weights again gives
            scale, layer = torch.from_numpy(scale.copy()), layers[name.removesuffix(".weight")]
            if layer is model.embedding:
                model.fixed_embedding = (fixed, scale[:, None])
            else:
                layer.fixed = (fixed, scale)
        state[name] = value
    model.load_state_dict(state)
    return model.eval()


def read_checkpoint(path: Path, device="cpu") -> dict:
    """A checkpoint's "config" and "model"; of a folder, those of the exported model in it, its weights as latent ones that
    quantise to what it holds: what is shipped can be trained further."""
    if not Path(path).is_dir():
        return earlier.checkpoint(torch.load(path, map_location=device))
    model = import_model(path).to(device)
    return {"config": model.config, "model": model.state_dict()}


def load_as_trained(path: Path, products=torch.float32, device="cpu") -> BitMar:
    """A checkpoint's model, which computes as it was trained: ternary, in float or with other bits"""
    checkpoint = read_checkpoint(path, device)
    model = BitMar(checkpoint["config"])
    model.load_state_dict(checkpoint["model"])
    return set_bits(set_precision(model, Precision(products, checkpoint.get("ternary", True))), checkpoint.get("bits", {})).to(device).eval()


def export_checkpoint(path: Path, tokenizer: Path, out: Path) -> int:
    checkpoint = read_checkpoint(path)
    if checkpoint.get("bits"):
        raise SystemExit(f"{path}: its weights have other bits than the format ({checkpoint['bits']}); they were for a measurement")
    model = BitMar(checkpoint["config"])
    model.load_state_dict(checkpoint["model"])
    return export_model(model.eval(), tokenizer, out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = export_checkpoint(args.checkpoint, args.tokenizer, args.out)
    print(f"{args.out}: {size} bytes of weights")


if __name__ == "__main__":
    main()
