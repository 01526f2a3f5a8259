"""The networks of the three steps."""
