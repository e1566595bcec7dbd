"""`dynamoctl serve`: the same engine as the daemon's, in the foreground, over a throw-away state directory."""
