"""Ops on arbitrary input: each against its reference, against itself, and on what it must refuse.

CI runs a few cases of each test, always the same ones; ``make fuzz`` draws thousands of new ones.
"""
