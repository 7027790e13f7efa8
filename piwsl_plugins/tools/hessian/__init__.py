"""``piwsl hessian``: Hessian labels for a user's own structures."""
