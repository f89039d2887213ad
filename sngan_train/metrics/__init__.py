"""Scores of generated images: feature extractors, and metric formulas on what they give."""
