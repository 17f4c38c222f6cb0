"""One module a peer. None imports its library before it is opened, and none may reach a network."""
