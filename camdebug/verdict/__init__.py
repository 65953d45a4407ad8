"""What may be said about a class, in words, with error control over the whole run.

``learned`` is there anything to judge · ``budget`` of the error rate · ``judge`` the rules and their memory ·
``words`` the sentences · ``alerts`` who is told what.
"""
