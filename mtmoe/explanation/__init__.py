"""Explanations of translations, behind `mtmoe explain`: which experts, which words of the source, which other words."""
