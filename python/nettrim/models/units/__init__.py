"""Units, channels and heads of a model: who writes them, who reads them, what goes with them."""
