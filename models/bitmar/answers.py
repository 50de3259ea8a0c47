"""python -m bitmar.answers: see eval/answers.py."""

from .eval.answers import main

if __name__ == "__main__":
    main()
