"""The fix strategies, one a file, and the policies they are composed of."""
