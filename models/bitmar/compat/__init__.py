"""The authors' published checkpoints: their layout, what they compute, and how they become a model directory (docs/compat.md)."""
