"""A GPU made of equations: device models, the co-location law, virtual time, stand-in driver tools."""
