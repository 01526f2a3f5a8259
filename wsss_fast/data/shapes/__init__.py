"""``shapes``: photograph-like images with textured objects, made on the fly.

Six classes, each a family of outlines with a texture of its own: dotted pebbles, striped stars, checked
rings, moons with concentric waves, zigzag crosses, scaly triangles. An object's colours are drawn from one
distribution whatever its class, so colour tells nothing about the class, and mostly differ from what lies
around it, so that colour tells where the object ends. The texture is strong in one part of the object, its
head, and faint elsewhere, so that a classifier can be right without having looked at the whole object.

An image is a function of (seed, split, index) and the configured size and number of classes. On another
processor or with other versions of NumPy and OpenCV, single pixels may differ by rounding.

`reader` has the data set. It takes where things are from `layout` and what they look like from `painting`;
`kinds` is the table of the classes.
"""

from __future__ import annotations

from wsss_fast.data.shapes.reader import Shapes

__all__ = ["Shapes"]
