"""Class activation maps, every gradient method from one pass over the pictures.

``lending`` use a model and return it untouched · ``model`` how it is run and read · ``target`` which layer, and where
its cells are · ``passes`` a forward without a graph below that layer, gradients above it · ``methods`` from what a pass
saw to maps · ``explain`` all choices of class and method together · ``engine`` the public functions.
"""
