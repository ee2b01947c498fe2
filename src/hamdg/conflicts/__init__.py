"""What the source domains disagree about, measured from a recipe's start model before anything is trained."""
