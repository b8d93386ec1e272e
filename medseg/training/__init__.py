"""Training: one optimiser step (``step``), the loop around it (``fit``), what survives a kill (``checkpoint``), the
learning rate (``schedule``), scores on whole studies meanwhile (``validation``), several processes
(``distributed``), signals (``signals``)."""
