"""Raw text: files, archives, downloads, and formats/ of sentence pairs."""
