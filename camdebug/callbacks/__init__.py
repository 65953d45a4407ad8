"""The Lightning side: when to look, and who is told.

``cam_monitor`` says when · ``trainer_facts`` reads the trainer · ``metrics`` what is logged · ``reporter`` and
``messages`` what people are told · ``arguments`` what they may pass.
"""
