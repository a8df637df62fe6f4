"""The `wordorder` command: one file per command, each thin over the library."""
