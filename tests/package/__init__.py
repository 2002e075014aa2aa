"""Tests of what is installed: the wheel, the declared versions, the private names of libraries that are used."""
