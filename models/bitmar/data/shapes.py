"""Drawn photos with captions, labels and questions, for the recipe `smoke`: nothing has to be downloaded to see that training works.

A photo shows one shape on a cloudy background. Every caption tells its size, colour, shape, height and background, so that few photos have one
caption: bitmar.prepare takes captions of validation photos out of the training photos.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (40, 70, 220), "yellow": (235, 215, 50), "white": (245, 245, 245), "black": (15, 15, 15)}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"small": 0.16, "large": 0.28}  # half of the width, of the photo's
PLACES = {"top": 0.3, "middle": 0.5, "bottom": 0.7}  # not left and right: views are mirrored
GROUNDS = {"sand": (205, 180, 130), "grass": (90, 140, 70), "water": (80, 130, 170), "snow": (215, 225, 235)}
SENTENCES = ("a {size} {colour} {shape} at the {place} on {ground}", "on {ground} there is a {size} {colour} {shape} at the {place}",
             "a {colour} {shape}, {size}, lies on {ground} at the {place}", "at the {place} on {ground} is a {size} {shape} in {colour}",
             "{ground} with a {size} {colour} {shape} at the {place}")
LABELLED = 0.1  # of the photos have labels alone


def drawn(rng: random.Random, side: int, size: str, colour: str, shape: str, place: str, ground: str) -> Image.Image:
    clouds = np.random.default_rng(rng.randrange(1 << 30)).normal(0, 30, (6, 6, 3))
    base = np.clip(np.array(GROUNDS[ground]) + clouds, 0, 255).astype(np.uint8)
    picture = Image.fromarray(base).resize((side, side), Image.BICUBIC)
    half = SIZES[size] * side * rng.uniform(0.9, 1.1)
    x, y = side * rng.uniform(0.3, 0.7), side * (PLACES[place] + rng.uniform(-0.04, 0.04))
    draw, ink = ImageDraw.Draw(picture), COLOURS[colour]
    if shape == "circle":
        draw.ellipse((x - half, y - half, x + half, y + half), ink)
    elif shape == "square":
        draw.rectangle((x - half, y - half, x + half, y + half), ink)
    elif shape == "triangle":
        draw.polygon(((x, y - half), (x - half, y + half), (x + half, y + half)), ink)
    else:
        thin = half / 3
        draw.rectangle((x - half, y - thin, x + half, y + thin), ink)
        draw.rectangle((x - thin, y - half, x + thin, y + half), ink)
    return picture


def make(folder: Path, count: int, held: int, side: int, seed: int) -> None:
    """A source folder for bitmar.prepare, with so many photos to train on and so many held out."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "photos.jsonl").open("w") as out:
        for i in range(count + held):
            what = {name: rng.choice(list(values)) for name, values in
                    (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES), ("place", PLACES), ("ground", GROUNDS))}
            drawn(rng, side, **what).save(folder / f"{i:04d}.png")
            row = {"image": f"{i:04d}.png", "labels": [what["shape"]], "split": "train" if i < count else "val",
                   "captions": [sentence.format(**what) for sentence in SENTENCES],
                   "questions": [["what color is it?", what["colour"], "color"], ["what is it on?", what["ground"], "object"]]}
            if i < count and rng.random() < LABELLED:
                row |= {"captions": [], "questions": []}
            out.write(json.dumps(row) + "\n")
