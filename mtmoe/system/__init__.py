"""Operating system: atomic files and directories, locks, cores, memory, settings of the process.

Here are also the private interfaces of torch, and the environment variables of torchrun.
"""
