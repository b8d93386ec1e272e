"""From a CT to a segmentation on its own grid: windows (``sliding_window``), clean-up (``postprocess``), one study
(``segmenter``), many (``batch``)."""
