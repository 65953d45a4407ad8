"""CAM methods: those that one pass answers, those that run a part of the network again, and those that are not ours."""
