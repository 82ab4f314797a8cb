"""What is wrong, and what to do about it: plain functions over what was found."""
