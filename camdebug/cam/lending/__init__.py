"""A model is lent to a look, or to code that is not ours, and comes back bit for bit as it was."""
