"""The facts of each benchmark: a module of its name that defines it in capitals; `registry.py` finds all of them."""
