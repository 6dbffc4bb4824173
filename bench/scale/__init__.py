"""The scale bench: a burst on a real installation, and arrival traces compared with the rules of KEDA, Knative and
AWS.
"""
