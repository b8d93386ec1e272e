"""From a CT to a segmentation on its own grid: windows (``sliding_window``), sharper edges (``crf``), clean-up
(``postprocess``), one study (``segmenter``), many (``batch``), what each leaves behind (``measurements``, ``outputs``).
"""
