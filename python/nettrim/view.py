"""Views of models: what those who bring their own kind of model write against."""

from .models.model_view import Affine, LayerView, ModelView, Signal, Untouched, as_view

__all__ = ["Affine", "LayerView", "ModelView", "Signal", "Untouched", "as_view"]
