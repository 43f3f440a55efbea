"""What should be: placement, balance, evacuation, what they cost, their order and their explanation. Pure."""
