"""The Lightning side: when to look, and who is told.

``cam_monitor`` says when · ``looker`` lends the model out · ``trainer_facts`` reads the trainer · ``metrics`` and
``metric_log`` what is logged · ``reporter`` and ``messages`` what people are told · ``alert_rate`` and ``on_alert`` how
often, and through the user's own callable · ``stopper`` ends the training · ``arguments`` what people may pass.
"""
