"""The runs of one or several roots on one page."""
