"""Several policies on one account: slots, their virtual books, how capital is shared. Pure."""
