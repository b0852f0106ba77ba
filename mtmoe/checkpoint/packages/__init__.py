"""Package: a trained model as one file, to be read where a run directory is.

::

    manifest.json          format, checkpoint, precision of the weights; size and SHA-256 of every other member
    model.safetensors      the weights (stored_weights.py)
    recipe.toml            the recipe that it was trained with; of paths of the machine that made it the last part alone
    subwords.model         the vocabulary (words.txt: one of words)
    lexicon.safetensors    as in a run directory, where the run has it; so are the next two
    source_words.tsv
    confidence.json
    fast_decoding.json
    README.md              the model card, with the front matter of the Hugging Face hub

It is a zip archive without directories. Every member is read into memory, checked, and never written to the disk.
"""
