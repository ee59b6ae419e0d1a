"""Competing methods, each in one file and written from its publication."""
