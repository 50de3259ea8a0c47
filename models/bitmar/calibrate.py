"""python -m bitmar.calibrate: see eval/calibrate.py."""

from .eval.calibrate import main

if __name__ == "__main__":
    main()
