"""Reference and segmentation to scores: one row per study and label, on the study's native grid.

    pairing: pair_folders -> workers: score_jobs -> files: score_files -> scores: score_arrays
        -> results: Evaluation -> CSV, JSON; summary: summarise, overall -> reports

What is scored is in ``ScoringOptions``. The scores and their empty cases are those of ``metrics``. What could not be
scored is listed with its reason, beside what could.
"""
