"""Makes the source of the documentation site, which docs/build.sh gives to Sphinx."""
