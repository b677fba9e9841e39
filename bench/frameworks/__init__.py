"""One small adapter per framework; imported only inside workers."""
