"""Frozen vision networks whose grids the encoder learns to predict."""
