"""``camdebug demo``: a planted shortcut and its clean twin, on real input that ships with scikit-learn.

``data`` digits on photographs · ``model`` a small network · ``twins`` train both · ``summary`` table, file and picture.
"""
