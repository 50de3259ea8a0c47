"""Writes tests/golden/images/ and tests/golden/resize.bin with Pillow, for tests/unit/io_{image,resize}_test.cpp.

usage: python3 tests/golden/images.py
resize.bin is by Pillow 9.4 to 12; 13.0 rounds one byte of a hundred another way.
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


def png(width: int, height: int, data: bytes, *chunks: bytes, depth=8, colour=2, interlaced=0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def lines(array: np.ndarray) -> bytes:
    """Unfiltered, numbers of 16 bits from their higher byte"""
    array = array.reshape(*array.shape[:2], -1)
    return b"".join(b"\0" + line.astype(array.dtype.newbyteorder(">")).tobytes() for line in array)


def passes(array: np.ndarray) -> bytes:
    """Adam7"""
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    return b"".join(lines(array[top::down, left::right]) for top, left, down, right in steps if array[top::down, left::right].size)


def profile() -> bytes:
    """An ICC profile whose red is blue: pictures look quite different where it is honoured."""
    fixed = lambda v: struct.pack(">i", round(v * 65536))
    xyz = lambda *v: b"XYZ \0\0\0\0" + b"".join(map(fixed, v))
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    red, green, blue = xyz(0.4361, 0.2225, 0.0139), xyz(0.3851, 0.7169, 0.0971), xyz(0.1431, 0.0606, 0.7141)
    tags = [(b"desc", text), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz(0.9642, 1, 0.8249)), (b"rXYZ", blue), (b"gXYZ", green),
            (b"bXYZ", red), (b"rTRC", curve), (b"gTRC", curve), (b"bTRC", curve)]
    at, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        index += name + struct.pack(">II", at + len(body), len(data))
        body += data
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(4 * 7) + fixed(0.9642) + fixed(1) + fixed(0.8249)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + index + body


def segments(file: bytes):
    """Of a JPEG: (marker, bytes) of each, the scan with its data"""
    at = 2
    while file[at + 1] != 0xD9:
        end = at + 2 + struct.unpack(">H", file[at + 2:at + 4])[0]
        if file[at + 1] == 0xDA:
            end = file.index(b"\xff\xd9", end)
        yield file[at + 1], file[at:end]
        at = end


def jpeg(parts) -> bytes:
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9"


# What decoders differ about, of the same picture.
with_alpha = np.dstack([pixels, alpha])
exif_tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
turned = np.asarray(rgb.transpose(T.ROTATE_90))
(OUT / "exif6.png").write_bytes(png(12, 16, lines(turned), chunk(b"eXIf", exif_tiff)))
(OUT / "gamma.png").write_bytes(png(16, 12, lines(pixels), chunk(b"gAMA", struct.pack(">I", 100000))))
(OUT / "profile.png").write_bytes(png(16, 12, lines(pixels), chunk(b"iCCP", b"test\0\0" + zlib.compress(profile()))))
(OUT / "interlaced.png").write_bytes(png(16, 12, passes(pixels), interlaced=1))
(OUT / "rgb16.png").write_bytes(png(16, 12, lines(pixels.astype(np.uint16) * 257), depth=16))
(OUT / "rgba16.png").write_bytes(png(16, 12, lines(with_alpha.astype(np.uint16) * 257), depth=16, colour=6))
(OUT / "interlaced-rgba.png").write_bytes(png(16, 12, passes(with_alpha), colour=6, interlaced=1))
(OUT / "grey-alpha.png").write_bytes(png(16, 12, lines(with_alpha[..., [0, 3]]), colour=4))
(OUT / "key.png").write_bytes(png(16, 12, lines(pixels), chunk(b"tRNS", struct.pack(">3H", *map(int, pixels[5, 3])))))
numbers = x.astype(np.uint8)[..., None]  # the first two colours, and those that a palette of two does not have
(OUT / "palette-short.png").write_bytes(png(16, 12, lines(numbers), chunk(b"PLTE", bytes([20, 40, 60, 200, 100, 50])), colour=3))
rgb.save(OUT / "profile.jpg", icc_profile=profile(), **options)
rgb.save(OUT / "restart.jpg", restart_marker_blocks=1, **options)
cmyk = (OUT / "cmyk.jpg").read_bytes()
(OUT / "cmyk-unmarked.jpg").write_bytes(jpeg(part for marker, part in segments(cmyk) if marker != 0xEE))
# YCCK: Adobe stores all four inverted, Pillow inverts what it saves, and of the rest C is 255 - R.
ycc = 255 - np.asarray(Image.fromarray(255 - pixels).convert("YCbCr"))
ycck = Image.fromarray(np.dstack([ycc, np.zeros((12, 16), np.uint8)]), mode="CMYK")
ycck.save(OUT / "ycck.jpg", **options)
ycck = [part[:-1] + b"\2" if marker == 0xEE else part for marker, part in segments((OUT / "ycck.jpg").read_bytes())]
(OUT / "ycck.jpg").write_bytes(jpeg(ycck))
plain = list(segments((OUT / "rgb.jpg").read_bytes()))
(OUT / "stray.jpg").write_bytes(jpeg(part + (b"\0stray" if marker == 0xDA else b"\0stray\xff\0\xff\xd3") for marker, part in plain))
(OUT / "mjpeg.jpg").write_bytes(jpeg(part for marker, part in plain if marker != 0xC4))

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
