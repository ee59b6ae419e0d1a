"""A package, and so the scope of fixtures that all files here share."""
