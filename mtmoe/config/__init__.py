"""Recipes: one TOML file is one experiment, and this package is the only definition of its settings."""

from mtmoe.config.recipe_files import shipped_families, shipped_recipes
from mtmoe.config.recipe_reading import load_recipe, recipe_from_dict, recipe_from_toml, recipe_to_toml
from mtmoe.config.setting_descriptions import SettingDescription, describe_settings, find_settings
from mtmoe.config.settings import Recipe

__all__ = [
    "Recipe",
    "SettingDescription",
    "describe_settings",
    "find_settings",
    "load_recipe",
    "recipe_from_dict",
    "recipe_from_toml",
    "recipe_to_toml",
    "shipped_families",
    "shipped_recipes",
]
