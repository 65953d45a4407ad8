"""What may be said about a class, in words, with error control over the whole run.

``learned`` is there anything to judge · ``budget`` of the error rate · ``plan`` of the looks that decide · ``power``
to see anything · ``screen`` and ``confirm`` the rules · ``memory`` of a class · ``judge`` puts them together · ``run``
the whole run · ``words`` the sentences · ``alerts`` who is told what.
"""
