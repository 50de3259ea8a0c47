"""python -m bitmar.export: see model/export.py."""

from .model.export import main

if __name__ == "__main__":
    main()
