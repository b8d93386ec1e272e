"""What a trained model is: what its channels mean, how it sees a study, its settings, and the folder it lies in."""
