"""Writes tests/golden/images/ and tests/golden/resize.bin with Pillow, for tests/unit/io_{image,resize}_test.cpp.

usage: python3 tests/golden/images.py
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
OUT = HERE / "images"

# ---- Files: 16 x 12 pixels of (16 x, 20 y, 8 (x + y)), upright ----
y, x = np.mgrid[0:12, 0:16]
pixels = np.stack([16 * x, 20 * y, 8 * (x + y)], -1).astype(np.uint8)
rgb = Image.fromarray(pixels)
alpha = np.where(x < 8, 0, 200).astype(np.uint8)
OUT.mkdir(exist_ok=True)
rgb.save(OUT / "rgb.png")
Image.fromarray(np.dstack([pixels, alpha])).save(OUT / "rgba.png")
rgb.getchannel("R").save(OUT / "grey.png")
Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + 77).save(OUT / "grey16.png")
palette = Image.fromarray((x + 16 * y).astype(np.uint8), mode="P")
palette.putpalette(pixels.reshape(-1).tolist())
palette.save(OUT / "palette.png", transparency=5)
rgb.save(OUT / "animated.png", save_all=True, append_images=[rgb.transpose(Image.Transpose.ROTATE_180)])
rgb.save(OUT / "photo.gif")
rgb.save(OUT / "photo.webp", lossless=True)
rgb.save(OUT / "photo.bmp")
rgb.save(OUT / "photo.tiff")
options = {"quality": 95, "subsampling": 0}
rgb.save(OUT / "rgb.jpg", **options)
rgb.save(OUT / "progressive.jpg", progressive=True, **options)
rgb.getchannel("R").save(OUT / "grey.jpg", quality=95)
rgb.convert("CMYK").save(OUT / "cmyk.jpg", quality=95)

# Stored so that turning by the orientation makes the picture above.
T = Image.Transpose
stored = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE, 6: T.ROTATE_90,
          7: T.TRANSVERSE, 8: T.ROTATE_270}
for orientation, how in stored.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb.transpose(how).save(OUT / f"orientation{orientation}.jpg", exif=exif, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


(OUT / "empty.png").write_bytes(png(0, 0, b""))
(OUT / "huge.png").write_bytes(png(30000, 30000, bytes(100)))
(OUT / "bomb.png").write_bytes(png(16, 12, bytes(8 << 20)))  # 8 MB for an image of 588 bytes

# ---- Resizing: noise of a generator that the test knows too ----
SIZES = [(37, 23, 16, 16), (5, 7, 16, 16), (16, 40, 16, 16), (40, 16, 16, 16), (101, 3, 8, 8), (1, 1, 8, 8),
         (333, 217, 24, 24), (16, 16, 16, 16), (3, 500, 12, 10)]


def noise(count: int) -> np.ndarray:
    values, state = np.empty(count, np.uint8), 1
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        values[i] = state >> 24
    return values


with open(HERE / "resize.bin", "wb") as file:
    for w, h, out_w, out_h in SIZES:
        image = Image.fromarray(noise(w * h * 3).reshape(h, w, 3))
        file.write(np.asarray(image.resize((out_w, out_h), Image.BILINEAR)).tobytes())
