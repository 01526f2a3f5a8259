"""Stand-ins for packages that code for this task already imports."""
