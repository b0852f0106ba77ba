"""The recipes that ship: one TOML file is one reproducible experiment."""
