"""Writes tests/golden/inflate/ with zlib, for tests/unit/io_inflate_test.cpp: the same bytes, packed by each of deflate's means.

usage: python3 tests/golden/inflate.py
"""

import zlib
from pathlib import Path

OUT = Path(__file__).parent / "inflate"
BYTES = 40_000


def body(count: int) -> bytes:
    """Noise, then runs and a text, then the noise again from as far back as deflate reaches."""
    out, state = bytearray(), 1
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        if i < 1500:
            out.append(state >> 24)
        elif 32_100 <= i < 33_400:
            out.append(out[i - 32_000])
        else:
            out.append(i // 97 % 256 if i // 1000 % 2 else 97 + (i * i // 7) % 5)
    return bytes(out)


STRATEGIES = {"huffman": zlib.Z_HUFFMAN_ONLY, "rle": zlib.Z_RLE, "fixed": zlib.Z_FIXED, "fast": zlib.Z_DEFAULT_STRATEGY, "best": zlib.Z_DEFAULT_STRATEGY,
              "blocks": zlib.Z_DEFAULT_STRATEGY, "stored": zlib.Z_DEFAULT_STRATEGY}
OUT.mkdir(exist_ok=True)
for name, strategy in STRATEGIES.items():
    level = {"fast": 1, "best": 9, "stored": 0}.get(name, 6)
    memory = 1 if name == "blocks" else 8  # few symbols of memory make many blocks
    packer = zlib.compressobj(level, zlib.DEFLATED, 15, memory, strategy)
    packed = packer.compress(body(BYTES)) + packer.flush()
    (OUT / f"{name}.zlib").write_bytes(packed)
    print(name, len(packed))
