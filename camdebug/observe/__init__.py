"""One look at a model: maps, measures, background contrast and swap, verdicts. Knows no trainer.

``observer`` takes the look · ``backgrounds`` swaps them · ``places`` looks for heat at a fixed place · ``outlook``
says beforehand what can be found.
"""

from camdebug.observe.observer import Observer

__all__ = ["Observer"]
