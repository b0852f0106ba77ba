"""From a survey of the text and the speed of the machine to a recipe, behind ``mtmoe init``."""
