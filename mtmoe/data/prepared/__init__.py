"""The data directory: encoded text, vocabulary, lexicon and manifest, as preprocessing leaves them."""
