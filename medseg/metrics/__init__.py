"""Scores and measures as pure functions on arrays; one definition each for training, evaluation and reports."""
