"""Models in and out by the command line: `mmjax import`, `mmjax export` with its proof and its model card."""
