"""The state that a program works on: recorded, and put back for every execution."""
