"""Model to cheaper model: one file is one technique, or one family of them."""
