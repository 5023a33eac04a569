"""What a run will need and how long a step will take, from its compiled program: before any chip is rented."""
