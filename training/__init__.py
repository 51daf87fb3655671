"""What trains: from a labelled data set to a run folder, and from a run folder to a submission."""
