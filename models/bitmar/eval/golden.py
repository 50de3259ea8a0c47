"""Golden vectors: a tiny random model and what every stage of it computes, for the engine's tests.

usage: python -m bitmar.eval.golden --out tests/golden/tiny

Integer accumulators must agree exactly, and a float on the edge between two int8 values may round
either way when two programs sum in different orders. So weights of the first layer and the
embedding sit on powers of two (their products are exact in float32), and seeds are tried until no
quantised activation, and no choice between two tokens, is near such an edge.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from ..data import tokenizer
from ..model import BitMar, quant
from ..model.export import export_model
from ..model.quant import BitConv2d, BitLinear
from .search import beam_search

CONFIG = {
    "model_type": "bitmar", "format_version": 1, "hidden_size": 32, "rms_norm_eps": 1e-5, "vocab_size": 305,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "vision": {
        "input": "pixels", "image_size": 32,
        "stem": [
            {"type": "conv", "out_channels": 8, "kernel_size": 3, "stride": 2, "weights": "int8", "activation": "relu"},
            {"type": "conv", "out_channels": 12, "kernel_size": 3, "stride": 1, "weights": "ternary",
             "activation": "relu"},
            {"type": "max_pool", "kernel_size": 3, "stride": 2},
            {"type": "residual", "kernel_size": 3},
            {"type": "conv", "out_channels": 16, "kernel_size": 1, "stride": 1, "weights": "ternary",
             "activation": "relu"},
            # From 16 channels on the engine may take another way (Winograd's).
            {"type": "conv", "out_channels": 16, "kernel_size": 3, "stride": 1, "weights": "ternary",
             "activation": "relu"},
            {"type": "residual", "kernel_size": 3},
            {"type": "conv", "out_channels": 24, "kernel_size": 3, "stride": 2, "weights": "ternary",
             "activation": "none"},
            {"type": "residual", "kernel_size": 1},
        ],
        "grid_size": 4, "hidden_size": 24, "num_layers": 2, "num_heads": 2, "intermediate_size": 40,
        "feature_size": 36,
    },
    "compressor": {"pool_size": 2, "hidden_size": 20},
    "text_encoder": {"num_layers": 2, "num_heads": 2, "intermediate_size": 48, "rope_theta": 10000.0,
                     "max_tokens": 12},
    "fusion": {"num_layers": 2, "num_heads": 2},
    "memory": {"num_slots": 8, "width": 16, "temperature": 0.1, "alpha": 0.2, "novelty_threshold": 0.9},
    "decoder": {"num_layers": 2, "num_heads": 4, "intermediate_size": 64, "rope_theta": 10000.0, "num_sinks": 2,
                "window_size": 30},
    "ask": {"token_id": 300, "max_tokens": 6},
    # The captions are those of the likelihood alone.
    "bag_of_words": {"guidance": 0.0, "rerank_weight": 0.0, "length_penalty": 1.0},
}
PROMPT = "a dog"
QUESTION = "is the dog on sand?"
PREFIX, CONTINUATIONS = "a boy", (" runs", " in a red shirt", " is on the water")
CORPUS = ["a dog runs on the grass", "two dogs play with a ball in the snow", "a man in a red shirt rides a bike",
          "a girl on the beach", "the dog is on the sand", "a boy and a girl are in the water"]
STEPS, BEAMS = 10, 3
GUIDED = {"guidance": 4.0, "rerank_weight": 4.0, "length_penalty": 0.7}  # the guided beam search
GAP = 3e-4  # between the values of two choices
EDGE = 1.5e-5  # of an int8 step; float32 sums in another order move values by about 1e-6 of one


class NearEdge(Exception):
    pass


class Edges:
    """Watches every rounding of activations, and ends the work at the first one near an edge."""

    def __init__(self):
        self.plain = quant.quantize_activation

    def __enter__(self):
        def watched(x, dims=-1):
            q, s = self.plain(x, dims)
            if float(((x / s).abs().frac() - 0.5).abs().min()) < EDGE:
                raise NearEdge
            return q, s

        quant.quantize_activation = watched
        return self

    def __exit__(self, *_):
        quant.quantize_activation = self.plain


def on_powers_of_two(weight: torch.Tensor, exponent: int) -> torch.Tensor:
    """Rows q * 2^exponent with max|q| = 127, so that int8 rows and their scales are exact."""
    rows = weight.flatten(1)
    q = (rows / rows.abs().amax(1, keepdim=True) * 127).round()
    return (q * 2.0**exponent).view_as(weight)


def tiny_model(seed: int) -> BitMar:
    torch.manual_seed(seed)
    model = BitMar(CONFIG).eval()
    for name, value in model.named_parameters():
        if name.endswith("norm.weight") or name.endswith("affine_scale"):
            value.data.uniform_(0.5, 1.5)
        elif name.endswith("affine_bias"):
            value.data.normal_(std=0.3)
        elif name in ("vision.position_embedding", "bag_of_words.bias"):
            value.data.normal_(std=0.3)
    model.embedding.weight.data = on_powers_of_two(model.embedding.weight.data, -9)
    model.embedding.weight.data[CONFIG["eos_token_id"]] *= 3  # so that some captions end
    model.bag_of_words.rarity.uniform_(0, 5)
    model.bag_of_words.center.normal_()
    model.bag_of_words.scale.uniform_(0.5, 2)
    first = model.vision.stem[0]
    first.weight.data = on_powers_of_two(first.weight.data, -13)
    return model


def record(model: BitMar, sink: dict, prefix: str):
    """Hooks that put the accumulators of every quantised layer, and the layers' outputs, into sink."""
    handles = []

    def accumulators(name):
        def hook(layer, inputs, _):
            x = inputs[0]
            if isinstance(layer, BitLinear):
                y = F.linear(quant.quantize_activation(x)[0], quant.quantize_weight(layer.weight)[0])
            elif layer.int8_weights:
                q, _ = quant.quantize_rows(layer.weight.flatten(1))
                y = F.conv2d(x, q.view_as(layer.weight), None, layer.stride, layer.padding)
            else:
                q, t = quant.quantize_activation(x, (1, 2, 3))[0], quant.quantize_weight(layer.weight)[0]
                y = F.conv2d(q, t, None, layer.stride, layer.padding)
            y = y.permute(0, 2, 3, 1) if y.dim() == 4 else y
            sink[f"{prefix}acc.{name}"] = y.flatten(0, -2).numpy().astype(np.int32)
        return hook

    def output(name):
        def hook(_, __, y):
            sink[f"{prefix}{name}"] = y[0].numpy()
        return hook

    for name, layer in model.named_modules():
        if isinstance(layer, (BitLinear, BitConv2d)):
            handles.append(layer.register_forward_hook(accumulators(name)))
        elif name.count(".") == 2 and name.split(".")[1] == "layers":
            handles.append(layer.register_forward_hook(output(name)))
    return handles


@contextlib.contextmanager
def attending(model: BitMar, conditioning: int, sink: dict, prefix: str):
    """Puts what each layer of the decoder attends to into sink: of every token and head the conditioning and the tokens up to it, one after another."""
    plain = [layer.attention.attend for layer in model.decoder.layers]

    def watched(i):
        def attend(scores, values):
            shares = scores.softmax(-1)[0].numpy()
            sink[f"{prefix}decoder.layers.{i}.attention"] = np.concatenate(
                [shares[head, token, :conditioning + token + 1] for token in range(shares.shape[1]) for head in range(shares.shape[0])])
            return plain[i](scores, values)
        return attend

    for i, layer in enumerate(model.decoder.layers):
        layer.attention.attend = watched(i)
    yield
    for layer in model.decoder.layers:
        del layer.attention.attend


@torch.no_grad()
def run_case(model: BitMar, name: str, prompt: list[int], pixels=None, slots=None, asked=False) -> tuple[dict, float]:
    """Every stage for one input, a question's if `asked`; also the closest call between tokens."""
    start, limit = (CONFIG["ask"]["token_id"], CONFIG["ask"]["max_tokens"]) if asked else (CONFIG["bos_token_id"], STEPS)
    out: dict[str, np.ndarray] = {}
    handles = record(model, out, name + "/")

    def keep(key, value):
        out[f"{name}/{key}"] = value.numpy().astype(np.float32)

    vision = None
    if pixels is not None:
        x = torch.tensor(pixels).permute(2, 0, 1)[None].float() - 128
        for i in range(len(model.vision.stem)):
            x = model.vision.run_stem(x, i, i + 1)
            keep(f"stem.{i}", x[0].permute(1, 2, 0))
        features = model.vision.transform(x)
        keep("features", features[0])
        vision = model.compressor(features)
        keep("vision_tokens", vision[0])
        summary = model.bag_of_words.summary(features, vision)
        keep("bag_of_words.state", model.bag_of_words.state(summary)[0])
        expected = model.bag_of_words_logits(summary)
        keep("bag_of_words.probabilities", expected[0].sigmoid())
        wanted = model.bag_of_words.wanted(expected)[0]
        keep("bag_of_words", wanted * model.bag_of_words.rarity)
    tokens = torch.tensor([[start, *prompt]])
    text, real = model.encode_text(tokens)
    keep("text_states", text[0])
    fused, pooled = model.fuse(text, real, vision)
    keep("fused", fused[0])
    keep("pooled", pooled[0])
    query, value = model.memory.query(pooled), model.memory.value(pooled)
    keep("memory_query", query[0])
    keep("memory_value", value[0])
    retrieved = None
    if slots is not None:
        retrieved, _ = model.memory.read(query, *slots)
        keep("memory_shares", (query @ slots[0].t() / model.memory.temperature).softmax(-1)[0])
        keep("retrieved", retrieved[0])
    sequence, mask = model.condition(retrieved, fused, real, vision)
    keep("conditioning", sequence[0])
    for handle in handles:
        handle.remove()

    eos = CONFIG["eos_token_id"]

    def next_logits(prefixes, _):
        return torch.stack([model.logits(torch.tensor([[start, *prefix]]), sequence, mask)[0, -1] for prefix in prefixes])

    said = model.generate(sequence, mask, limit, start=start)[0]
    handles = record(model, out, name + "/")
    with attending(model, sequence.shape[1], out, name + "/"):
        logits = model.logits(torch.tensor([[start, *said]]), sequence, mask)[0]
    for handle in handles:
        handle.remove()
    keep("logits", logits)
    out[f"{name}/prompt"] = np.array(prompt, np.int32)
    out[f"{name}/greedy"] = np.array(said, np.int32)
    first, second = logits.topk(2).values.unbind(-1)
    best, score, gap = beam_search(next_logits, eos, BEAMS, limit, length_penalty=0.0 if asked else 1.0)
    out[f"{name}/beam"] = np.array(best, np.int32)
    out[f"{name}/beam_score"] = np.array([score], np.float32)
    gaps = [gap, float((first - second).min())]
    if asked:
        answers, totals = model.ask(tokens, vision)
        assert answers == [said], (answers, said)
        out[f"{name}/log_probability"] = np.array(totals, np.float32)
    elif vision is not None:
        guided, _, gap = beam_search(next_logits, eos, BEAMS, STEPS, **GUIDED, agreements=lambda tokens: model.bag_of_words.agreements(wanted, tokens))
        out[f"{name}/guided_beam"] = np.array(guided, np.int32)
        gaps.append(gap)
    return out, min(gaps)


@torch.no_grad()
def scores(model: BitMar, prefix: list[int], continuations: list[list[int]], pixels=None) -> list[np.ndarray]:
    """ln p of each token of each continuation after the prefix"""
    vision = None if pixels is None else model.compressor(model.vision(torch.tensor(pixels).permute(2, 0, 1)[None]))
    begin = torch.tensor([[CONFIG["bos_token_id"]]])
    text, real = model.encode_text(begin)
    fused, _ = model.fuse(text, real, vision)
    sequence, mask = model.condition(None, fused, real, vision)
    out = []
    for own in continuations:
        tokens = torch.tensor([[*begin[0], *prefix, *own]])
        likely = model.logits(tokens[:, :-1], sequence, mask)[0].log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0]
        out.append(likely[-len(own):].numpy())
    return out


def build(seed: int, prompt: list[int], question: list[int], prefix: list[int], continuations: list[list[int]]):
    """All cases of one seed, or None where an edge is near or the captions are too dull to prove much."""
    rng = np.random.default_rng(seed)
    model, side = tiny_model(seed), CONFIG["vision"]["image_size"]
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 5, 5)))
    image = F.interpolate(coarse, (side, side), mode="bilinear") + torch.from_numpy(rng.normal(0, 12, (1, 3, side, side)))
    pixels = image[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)
    width = CONFIG["memory"]["width"]
    keys, values = (F.normalize(torch.from_numpy(rng.normal(size=(5, width))).float(), dim=-1) for _ in range(2))
    tensors = {"pixels": pixels, "memory_keys": keys.numpy(), "memory_values": values.numpy()}
    lengths: dict[str, list[int]] = {"greedy": [], "beam": []}
    with Edges():
        for arguments in (("prompted", prompt, pixels), ("plain", [], pixels, (keys, values)), ("text", prompt), ("ask", question, pixels, None, True)):
            case, gap = run_case(model, *arguments)
            if gap < GAP:
                return None
            for kind, seen in lengths.items():
                seen.append(len(case[f"{arguments[0]}/{kind}"]))
            tensors |= case
        for name, seen in (("image", pixels), ("text", None)):
            tensors |= {f"score_{name}/{i}": likely for i, likely in enumerate(scores(model, prefix, continuations, seen))}
    # The same picture is seen three times.
    stages = ("stem", "acc.vision", "vision.", "features", "acc.compressor", "vision_tokens", "bag_of_words", "acc.bag_of_words")
    again = tuple(f"{case}/{stage}" for case in ("plain", "ask") for stage in stages)
    tensors = {k: v for k, v in tensors.items() if not k.startswith(again)}
    *said, answer = lengths["greedy"]
    telling = min(said) > 2 and min(said) < STEPS and 0 < answer < CONFIG["ask"]["max_tokens"]
    telling = telling and min(lengths["beam"][:-1]) > 2 and min(lengths["beam"][:-1]) < STEPS
    telling = telling and tensors["ask/beam"].tolist() != tensors["ask/greedy"].tolist()
    telling = telling and all(tensors[f"{case}/guided_beam"].tolist() != tensors[f"{case}/beam"].tolist() for case in ("prompted", "plain"))
    return (model, tensors) if telling else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="the first to try")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "tokenizer.json"
    if not file.exists():  # one that is there is kept: the library that learns it may order equally frequent pairs otherwise one day
        vocabulary, merges = tokenizer.train([line for line in CORPUS for _ in range(2)], CONFIG["vocab_size"] - len(tokenizer.ADDED))
        assert len(vocabulary) == CONFIG["ask"]["token_id"], len(vocabulary)
        tokenizer.write(file, vocabulary, merges, tokenizer.ADDED)
    encode = tokenizer.Tokenizer(file).encode
    prompt, question, prefix = map(encode, (PROMPT, QUESTION, PREFIX))
    for seed in itertools.count(args.seed):
        with contextlib.suppress(NearEdge):
            if made := build(seed, prompt, question, prefix, [encode(text) for text in CONTINUATIONS]):
                break
    model, tensors = made
    tensors["prompt_text"] = np.frombuffer(PROMPT.encode(), np.uint8)
    tensors["question_text"] = np.frombuffer(QUESTION.encode(), np.uint8)
    tensors["score_prefix"] = np.frombuffer(PREFIX.encode(), np.uint8)
    tensors |= {f"score_continuation/{i}": np.frombuffer(text.encode(), np.uint8) for i, text in enumerate(CONTINUATIONS)}
    export_model(model, file, args.out)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, args.out / "golden.safetensors")
    size = sum(f.stat().st_size for f in args.out.iterdir())
    print(f"seed {seed}: {size} bytes")
    for case in ("prompted", "plain", "text", "ask"):
        print(case, tensors[f"{case}/greedy"].tolist(), tensors[f"{case}/beam"].tolist(), tensors[f"{case}/beam_score"])


if __name__ == "__main__":
    main()
