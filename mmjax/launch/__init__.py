"""`mmjax launch`: the same command on several processes: of this machine, a SLURM cluster, GKE or TPU VMs."""
