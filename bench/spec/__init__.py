"""What a user asks for, validated: experiments, budgets, and the names of plugins."""
