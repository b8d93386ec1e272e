"""Studies as training sees them: preprocessed once into memory maps (``cache``), crops drawn as a pure function of
(seed, index) (``sampling``, ``dataset``), batches that a resumed run repeats exactly (``loaders``); ``settings`` say
which studies and which crops."""
