"""`dynamoctl`, also known as `dynamo`: the command line of the control plane."""
