"""The target layer: which one it is, and where its output holds the cells of the picture."""
