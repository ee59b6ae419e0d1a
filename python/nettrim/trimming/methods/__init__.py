"""How layers are posed and solved: a method for each kind of goal."""
