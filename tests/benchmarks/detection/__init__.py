"""The detection benchmark: planted shortcuts, clean negatives, and how well camdebug tells them apart.

``worlds`` makes pictures, ``cues`` what gives the class away in them, ``nets`` what is trained, ``runs`` one training
with a look after every epoch, ``study`` which runs there are, ``work`` where they are kept, ``report`` what they say
(from ``units``, ``ranking`` and ``intervals``), ``figure`` one picture of it.
"""
