"""Models as `nettrim.trim` sees them, whatever framework they come from."""
