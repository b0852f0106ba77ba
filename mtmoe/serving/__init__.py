"""Behind ``mtmoe serve``: trained runs as an HTTP server that clients of other translators speak to, with a page."""
