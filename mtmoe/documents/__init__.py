"""Documents: files of many formats, whose text is translated and whose form stays.

A format (``formats/``) divides a file into what stays as it is and segments; it knows nothing of models. Whoever
translates asks a :class:`~mtmoe.documents.document.Document` for its lines, and gives it their translations.
"""
