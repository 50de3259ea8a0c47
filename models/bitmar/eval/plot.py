"""Draws what more training would give: the encoder's error by its steps, and captions by what the encoder explains. Or the loss of a long text.

usage: python -m bitmar.eval.plot --curves models/curves --out models/curves.svg    (needs matplotlib)
       python -m bitmar.eval.plot --long-text build/long-text.json --out docs/long-text.svg    (of bench/language/long_text.mjs)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "bitmar", "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False,
                            "axes.spines.right": False})
from matplotlib import pyplot  # noqa: E402 - after the choice of what it draws with

RED, BLUE, GREY = "#b7410e", "#1f5f8b", "#9aa5b1"
# On the ensemble's grid: the curve, how many views a step has, what went before it in millions of views, what it learned from, where to
# say so (points) and the colour. The third and fourth go on from the second, the last from a float one that went on from the third.
ENCODERS = [("ensemble-encoder", 64, 0.0, "6 views a photo", (48, 62), RED), ("ensemble-encoder-longer", 64, 0.134, "10 views", (34, 34), RED),
            ("gpu-encoder", 256, 0.275, "28 views, half of all\nmixed, ternary", (6, 20), RED), ("gpu-float-encoder", 256, 0.275, "the same in float", (-4, 16), BLUE),
            ("warm-encoder", 256, 1.22, "40 views, begun\nas a float one", (4, 24), RED)]
# The model card's models: per cent of the variance of the teacher's grid that the encoder explains, greedy CIDEr of 1,000
# photos before and after the reward. 100 is the teacher's grid itself.
MODELS = [(44, 0.220, None), (51, 0.267, 0.315), (56, 0.273, 0.322), (58, 0.284, 0.336), (59, 0.291, 0.338), (62, None, 0.354),
          (100, 0.344, 0.381)]
# The same with ResNet-50 beside the detectors as a teacher: its grid is another, and so is what a per cent of it says.
ENSEMBLE = [(57, 0.321, 0.3615), (59, None, 0.385), (59.5, 0.363, 0.420), (62, 0.371, 0.432), (100, 0.409, None)]


def rows_with(path: Path, key: str) -> list[dict]:
    return [row for row in map(json.loads, path.read_text().splitlines()) if key in row]


def encoder_error(axes, curves: Path) -> None:
    """Mean squared error of the grid, of training batches and of validation photos."""
    for name, batch, before, label, offset, colour in ENCODERS:
        at = lambda row: before + row["step"] * batch / 1e6
        for key, shade in (("mse", GREY), ("val_mse", colour)):
            rows = rows_with(curves / f"{name}.jsonl", key)
            axes.plot([at(row) for row in rows], [row[key] for row in rows], color=shade, linewidth=1.4)
        axes.annotate(f"{rows[-1]['val_mse']:.3f}\n{label}", (at(rows[-1]), rows[-1]["val_mse"]), xytext=offset,
                      textcoords="offset points", ha="center", va="center", fontsize=8)
    axes.set(title="The encoder's error", xlabel="millions of views (coloured: validation photos, grey: training)", xlim=(0, 2.7), ylim=(0.6, 1.5))


def captions(axes) -> None:
    """CIDEr by explained variance, to the teacher's grid itself."""
    for i, (colour, label) in enumerate(((BLUE, "before the reward"), (RED, "after it")), 1):
        points = [(row[0], row[i]) for row in MODELS if row[i]]
        axes.plot(*zip(*points), "o-", color=colour, linewidth=1.2, markersize=4, label=label)
        points = [(row[0], row[i]) for row in ENSEMBLE if row[i]]
        axes.plot(*zip(*points), "s:", color=colour, linewidth=1.2, markersize=5, label=f"{label}, ResNet-50 too")
    axes.axhline(0.4, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(title="Captions by what the encoder explains", xlabel="% of the variance of the teacher's grid (100: the grid itself)",
             ylabel="CIDEr, greedy", ylim=(0.2, 0.46))
    axes.legend(frameon=False, loc="lower right")


def long_text(measured: dict) -> pyplot.Figure:
    """Loss by position: with sinks, without, and where the window was computed afresh."""
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    each = measured["each"]
    for name, label, colour in (("without", "without sinks", BLUE), ("sinks", "with sinks", RED)):
        places = [each * (i + 0.5) for i in range(len(measured[name]))]
        axes.plot(places, measured[name], color=colour, linewidth=1.2, label=f"{label}, mean of {each} tokens")
    # Single tokens scatter too far to be drawn one by one.
    afresh = sorted(measured["afresh"], key=lambda row: row["at"])
    groups = [afresh[i:i + 50] for i in range(0, len(afresh) - 49, 50)]
    for name, mark, label in (("afresh", "o", "computed afresh"), ("kept", "x", "kept with sinks")):
        axes.plot([sum(row["at"] for row in group) / len(group) for group in groups], [sum(row[name] for row in group) / len(group) for group in groups],
                  mark, color=GREY if name == "afresh" else "black", markersize=5, label=f"{label}, means of 50 word-initial tokens")
    axes.axvline(measured["rows"], color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel=f"position (dotted: {measured['rows']}, where the window is full)", ylabel="nats per token", xlim=(0, measured["tokens"]))
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))  # above: points are anywhere
    return figure


def main() -> None:
    parser = argparse.ArgumentParser()
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--curves", type=Path)
    given.add_argument("--long-text", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.long_text:
        long_text(json.loads(args.long_text.read_text())).savefig(args.out, metadata={"Date": None})
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    encoder_error(left, args.curves)
    captions(right)
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
