"""Helpers shared by the notebooks: one module, one job; heavy libraries are imported inside functions."""
