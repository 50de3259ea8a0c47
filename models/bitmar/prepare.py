"""python -m bitmar.prepare: see data/prepare.py."""

from .data.prepare import main

if __name__ == "__main__":
    main()
