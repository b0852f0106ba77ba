"""Text: lines to subwords and back."""
