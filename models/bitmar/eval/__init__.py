"""What a model is worth: scores, calibration, comparisons, golden vectors."""
