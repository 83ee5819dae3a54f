"""Data sets, a file each: see ``ppcls_lite.config.catalog``."""
