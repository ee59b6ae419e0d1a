"""A network trimmed layer by layer: the walk over its layers, and the bounds on what came of it."""
