"""One thin file a command: its options, then a call to a job or to the library."""
