"""Recipes and their sections: what they can say, how they are read and checked."""
