"""Values to pictures: plain uint8 arrays, drawn without pyplot and always on the same fixed colour scale.

* ``colour``: heat as density relative to uniform, painted with one fixed scale for all pictures and epochs.
* ``picture``: probe tensors back to pictures that people recognise.
* ``ink``: fonts, text that is never cut, box outlines, legends.
* ``words``: captions and numbers.
* ``overlay``: one probe at one epoch. ``filmstrip``: one probe over epochs. ``cue_map``: one class.
"""
