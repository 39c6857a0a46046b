"""A process reward model over HTTP: step scores, rewards, and a page where people look (`erprm serve`)."""
