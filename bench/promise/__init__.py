"""Promises on unseen data."""
