"""Diagnosis behind ``mtmoe doctor``: software, hardware, run directory and processes."""
