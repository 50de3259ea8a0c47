"""The model in PyTorch, exact and fast, and its files."""

from .bitmar import BitMar, load_config

__all__ = ["BitMar", "load_config"]
