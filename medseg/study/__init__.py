"""What a study is: files, grids, label values, lists of studies, and synthetic ones.

geometry.py      grids that agree, orientation, to RAS and back
nifti.py         images in HU and class indices from NIfTI files, segmentations back with the file's own geometry
hounsfield.py    stored numbers -> HU, by one rule for every format
nifti_bytes.py   headers and voxels as stored, through a fast gzip
itk_image.py     images in HU from NRRD and MetaImage files
dicom.py         images in HU from DICOM series: dicom_header.py (a file's description), dicom_series.py (which series,
                 which of them are CT), dicom_geometry.py (order, even or refused), dicom_pixels.py (one slice in HU),
                 tilt.py (slices of a tilted gantry set straight)
inputs.py        what a file, folder, tree or manifest holds, in any format, and one of it read
labels.py        label values -> class indices
manifest.py      the CSV of studies, folds by subject, splits
layouts.py       what `medseg manifest` recognises: MSD, LiTS, nnU-Net, image and label pairs
check.py         everything that can be known of a study before training
phantom.py       synthetic CT of anatomy.py and tumours.py, made of solids.py, drawn by rendering.py
"""
