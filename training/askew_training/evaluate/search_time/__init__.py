"""What a search can do with gallery vectors beyond comparing them with the query's: for better answers, or for fewer bytes."""
