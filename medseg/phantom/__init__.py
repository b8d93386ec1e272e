"""Synthetic CT: ``make`` writes studies of an ``anatomy`` with ``tumours``, of ``solids``, drawn by ``rendering``."""
