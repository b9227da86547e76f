"""The commands, a module each, and the modules that only one or two of them need."""
