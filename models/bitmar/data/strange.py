"""Pictures unlike any photo that the model learned from: what it should not be sure of."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image, ImageDraw

SIZE = 176


def colour(rng: random.Random) -> tuple[int, int, int]:
    return tuple(rng.randrange(256) for _ in range(3))


def blank(rng):
    return Image.new("RGB", (SIZE, SIZE), colour(rng))


def noise(rng):
    seeded, grain = np.random.default_rng(rng.randrange(1 << 30)), rng.choice((1, 2, 4, 8, 16))
    small = seeded.integers(0, 256, (SIZE // grain, SIZE // grain, rng.choice((1, 3))), np.uint8)
    return Image.fromarray(np.broadcast_to(small, (*small.shape[:2], 3)).copy()).resize((SIZE, SIZE), rng.choice((0, 2)))


def text_page(rng):
    page = Image.new("RGB", (SIZE * 2, SIZE * 2), rng.choice(("white", "ivory", "black")))
    ink = "white" if page.getpixel((0, 0)) == (0, 0, 0) else "black"
    draw = ImageDraw.Draw(page)
    for y in range(12, SIZE * 2 - 12, rng.choice((12, 16, 24))):
        line = " ".join("".join(rng.choice("abcdefghijklmnoprstuvw") for _ in range(rng.randint(1, 9))) for _ in range(12))
        draw.text((12, y), line[:rng.randint(20, 55)], fill=ink)
    return page.resize((SIZE, SIZE), Image.BILINEAR)


def drawing(rng):
    page = Image.new("RGB", (SIZE, SIZE), "white")
    draw = ImageDraw.Draw(page)
    for _ in range(rng.randint(3, 14)):
        box = [rng.randrange(SIZE) for _ in range(4)]
        box = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]) + 1, max(box[1], box[3]) + 1]
        kind = rng.choice(("line", "ellipse", "rectangle", "arc"))
        if kind == "line":
            draw.line(box, fill=colour(rng), width=rng.randint(1, 5))
        elif kind == "arc":
            draw.arc(box, 0, rng.randint(60, 360), fill=colour(rng), width=2)
        else:
            getattr(draw, kind)(box, outline=colour(rng), fill=rng.choice((None, colour(rng))))
    return page


def gradient(rng):
    a, b = np.array(colour(rng)), np.array(colour(rng))
    t = np.linspace(0, 1, SIZE)[None, :, None] if rng.random() < 0.5 else np.linspace(0, 1, SIZE)[:, None, None]
    return Image.fromarray(np.broadcast_to(a + (b - a) * t, (SIZE, SIZE, 3)).astype(np.uint8))


KINDS = {"blank": blank, "noise": noise, "text page": text_page, "drawing": drawing, "gradient": gradient}


def strange_pictures(each: int, seed=0) -> list[tuple[str, Image.Image]]:
    """`each` pictures of every kind, with its name."""
    rng = random.Random(seed)
    return [(kind, make(rng)) for kind, make in KINDS.items() for _ in range(each)]
