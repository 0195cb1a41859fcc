"""All orders of a program, or as many as a budget allows: what was tried, found and shown."""
