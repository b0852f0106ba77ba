"""Interfaces: what clients of LibreTranslate, DeepL and OpenAI send and are answered, and the page's own."""
