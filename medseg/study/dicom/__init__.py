"""DICOM: series to images in HU, and segmentations as DICOM-SEG.

read.py      a series as one image: header.py (a file's description), series.py (which series, which of them are CT),
             geometry.py (order, even or refused), pixels.py (one slice in HU), tilt.py (a tilted gantry set straight)
seg.py       segmentations on the slices that they belong to, named by segment_codes.py
"""
