"""The hosts and their model servers: who is there, who is fenced, what each may take."""
