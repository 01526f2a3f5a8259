"""Layers and losses that stand on the ops."""
