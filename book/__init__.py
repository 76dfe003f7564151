"""The book: an executed run and the documentation as a static site, made by Sphinx and MyST-NB."""
