"""Encoders by modality."""
