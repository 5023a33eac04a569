"""Scores as the literature defines them: plain functions of texts or features, without a model."""
