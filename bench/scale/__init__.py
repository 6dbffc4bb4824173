"""The scaler: a burst on a real installation, and arrival traces beside the rules of KEDA, Knative and AWS."""
