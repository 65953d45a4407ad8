"""The same objects on swapped backgrounds: what changes is owed to the background.

``pairing`` of objects and donors · ``composites`` of both · ``contrast`` of the evidence that enters outside the
object.
"""
