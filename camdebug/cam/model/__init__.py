"""How a model is run, in which number format, and how its output is read as scores of classes."""
