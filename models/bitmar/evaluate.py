"""python -m bitmar.evaluate: see eval/evaluate.py."""

from .eval.evaluate import main

if __name__ == "__main__":
    main()
