"""Images, rollouts and the judge of canaries. Communicates with the scaler only through the control records."""
