"""The ablation: a grid of settings, the stages that its cells share, and the table that comes out of it."""
