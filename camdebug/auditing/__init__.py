"""An audit of a trained model over a whole dataset, on Lightning's own engine.

``audit`` is the way in · ``batches`` reads pictures · ``work`` measures them and looks once · ``rows`` is what is kept
· ``engine`` lets a Trainer carry the batches · ``report`` is what was found and its files · ``words`` its text.
"""
