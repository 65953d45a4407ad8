"""The same objects on swapped backgrounds: what changes is owed to the background.

``pairing`` of donors and objects · ``composites`` of both · ``evidence`` that a model sees in them, by ``grouping``
of rows · ``contrast`` of what enters outside the object · ``swap`` of predictions · ``sign_flip`` test.
"""
