"""A network and a study that extend alexlab from a package of their own."""
