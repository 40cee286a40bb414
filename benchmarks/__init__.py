"""Short scripts that call the library and print what was measured; run them from the project's root."""
