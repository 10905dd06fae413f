"""The API functions: entry points of a few lines over use cases that know the domain's ports only."""
