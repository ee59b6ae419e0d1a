"""Modules that use their weights directly, made of linear layers in the copy that runs."""
