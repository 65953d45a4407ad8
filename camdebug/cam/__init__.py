"""Class activation maps, every gradient method from one pass over the pictures.

``borrow`` use a model and return it untouched · ``layers`` find the target layer · ``passes`` forward without a graph
below that layer, gradients above it · ``methods`` activation and gradient to map · ``engine`` the public function.
"""
