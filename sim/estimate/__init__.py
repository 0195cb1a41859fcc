"""Statistics of odds: intervals, when to stop, rare events. Plain numbers in, plain numbers out."""
