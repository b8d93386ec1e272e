"""From a CT to a segmentation on its own grid.

One study (``segmenter``) through windows (``windows``, ``sliding_window``, ``slab``, ``predictor``), the organ found
first (``locate``), sharper edges (``crf``), clean-up (``postprocess``); ``load`` makes it of a model folder.
"""
