"""Where heat lies, with its chance level.

``mass`` formulas on grids · ``localisation`` scores of a probe set and their validity · ``summary`` means per class.
"""
