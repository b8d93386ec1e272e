"""From a CT to a segmentation on its own grid.

Windows (``windows``, ``sliding_window``, ``slab``, ``predictor``), the organ found first (``locate``), sharper edges
(``crf``), clean-up (``postprocess``); one study (``segmenter``), the folder it is loaded from (``model``), what each
study leaves behind (``measurements``, ``outputs``).

Many studies (``batch``) are a ``worklist`` with its ``record`` and its ``claims``, worked off by a ``pipeline`` of
threads in this process, by several processes (``workers``) or by a Ray cluster (``ray_engine``).
"""
