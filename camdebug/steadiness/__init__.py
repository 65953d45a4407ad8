"""How steady maps are, and whether they mean anything: information, never an alarm.

``perturbed`` pictures · ``alignment`` of maps that moved · ``chance`` levels · ``memory`` of earlier maps · ``check``
at every look · ``numbers``, ``split_words`` and ``words`` the sentences.
"""
