"""Many studies, each ended once; a broken one stops no other.

A job (``job``) is what ``medseg segment`` does. Its ``studies`` are a ``worklist`` with its ``record`` and its
``claims``, worked off by a ``pipeline`` of threads in this process, by several processes (``workers``) or by a Ray
cluster (``ray_engine``). What each study leaves behind: ``outputs`` in the formats of ``writers``, ``measurements``.
"""
