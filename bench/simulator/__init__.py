"""A GPU made of equations."""
