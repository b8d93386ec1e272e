"""DICOM: series to images in HU, and segmentations as DICOM-SEG.

read.py      a series as one image: header.py (a file's description), series.py (which series, which of them are CT),
             geometry.py (order, even or refused), pixels.py (one slice in HU), tilt.py (a tilted gantry set straight)
seg.py       segmentations written on the slices that they belong to, named by segment_codes.py
label.py     DICOM-SEG as label maps: segmentation.py (what the file holds), segments.py (what a label map takes),
             placing.py (where its frames lie on a grid)
"""
