"""What a study is: files, grids, label values, lists of studies.

geometry.py      grids that agree, orientation, to RAS and back
formats.py       which files hold a volume, by their names
nifti.py         images in HU and class indices from NIfTI files, segmentations back with the file's own geometry
hounsfield.py    stored numbers -> HU, by one rule for every format
nifti_bytes.py   headers and voxels as stored, through a fast gzip
itk_image.py     images in HU from NRRD and MetaImage files
dicom/           DICOM series and DICOM-SEG
inputs.py        what a file, folder, tree or manifest holds, in any format, and one of it read
load.py          a labelled study in any format: image and label or none, on one grid
label_map.py     what a pipeline's `labels` says of label values
labels.py        label values -> class indices
manifest.py      the CSV of studies, folds by subject, splits
layouts.py       what `medseg manifest` recognises: MSD, LiTS, nnU-Net, image and label pairs
check.py         everything that can be known of a study before training
"""
