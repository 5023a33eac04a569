"""Use of a trained model: embed a data set, search in it, classify pictures. One verb a file."""
