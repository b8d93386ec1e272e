"""Scores as pure functions on arrays; numpy only, one definition each for training, evaluation and reports."""
