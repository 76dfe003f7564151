"""Slider panels for notebooks and for the app."""
