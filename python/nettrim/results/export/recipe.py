"""How the trimmed model came about, and how to know that one has it."""

from __future__ import annotations

import json
from pathlib import Path

from ...models.hashes import hash_model
from .exported import ExportedFile, Models, Unavailable, export_file

__all__ = ["write"]

NAME = "recipe.json"


def write(models: Models, folder: Path) -> ExportedFile:
    """Write ``recipe.json``: `TrimResult.recipe`, the layers' shapes, a hash of the new weights."""
    if not models.recipe:
        raise Unavailable("recipe is empty: the result carries none")
    view = models.trimmed.view
    layers = view.prunable_layers()
    content = {
        **models.recipe,
        "layers": {layer.name: list(layer.shape) for layer in layers},
        "trimmed": {"sha256": hash_model(view, layers)},
    }
    text = json.dumps(content, indent=2) + "\n"
    size = export_file(folder, NAME, lambda path: path.write_text(text, encoding="utf-8"))
    return ExportedFile(NAME, "JSON", None, size)
