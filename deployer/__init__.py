"""Where the traffic goes: images, rollouts, and the judge of canaries. Knows the scaler only by the control records."""
