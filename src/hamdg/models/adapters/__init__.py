"""Adapters of a tower's self-attention: parametrizations of its own weights, which fold into them."""
