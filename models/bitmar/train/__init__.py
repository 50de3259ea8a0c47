"""Training by recipes: `python -m bitmar.train`."""
