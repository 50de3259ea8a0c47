"""Writes unicode_tables.inc: what GPT-2's pre-tokenizer and the Lowercase normalizer know of Unicode.

usage: python3 src/io/unicode_tables.py > src/io/unicode_tables.inc
"""

import unicodedata


def ranges(wanted):
    """[first, last] of every run of code points for which wanted(character)."""
    runs = []
    for c in range(0x110000):
        if wanted(chr(c)):
            if runs and runs[-1][1] == c - 1:
                runs[-1][1] = c
            else:
                runs.append([c, c])
    return runs


def lower_case():
    """[first, last, step, difference] of runs of capitals: every step-th one, each as far from its small letter."""
    runs = []
    for c in range(0x110000):
        small = chr(c).lower()
        if small == chr(c) or len(small) > 1:  # only U+0130 becomes two; the C++ code knows
            continue
        difference = ord(small) - c
        if runs and runs[-1][3] == difference:
            first, last, step, _ = runs[-1]
            if c - last == step or first == last and c - last == 2:
                runs[-1][1:3] = [c, c - last]
                continue
        runs.append([c, c, 1, difference])
    return runs


def table(kind, name, rows):
    print(f"constexpr {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        entry = " {" + ", ".join(hex(v) if v > 9 else str(v) for v in row) + "},"
        if len(line + entry) > 120:
            print(line)
            line = "   "
        line += entry
    print(line + "\n};")


print(f"// Unicode {unicodedata.unidata_version}. Written by unicode_tables.py; not for editing.")
print("// clang-format off")
table("Range", "kLetters", ranges(lambda c: unicodedata.category(c)[0] == "L"))
table("Range", "kNumbers", ranges(lambda c: unicodedata.category(c)[0] == "N"))
# White_Space; unlike str.isspace() without the information separators.
table("Range", "kSpaces", ranges(lambda c: c.isspace() and not "\x1c" <= c <= "\x1f"))
table("Capitals", "kCapitals", lower_case())
print("// clang-format on")
