"""Text: from what a recipe names to batches of subword ids. raw/ reads, cleaning/ chooses, subwords/ encodes, prepared/
keeps, batches/ feeds."""
