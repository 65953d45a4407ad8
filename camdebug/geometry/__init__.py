"""Transforms that carry a picture and its annotations together, so that boxes and masks sit where the model sees them.

``carrier`` what every kind of transform becomes
"""
