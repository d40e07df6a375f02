"""What a user can set, and how a fault in it is said."""
