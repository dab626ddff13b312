"""Helpers shared by the notebooks: a room for each noun, a file for each job; heavy imports stand inside functions."""
