"""Why one image got its score: where the network looked, and which features moved the baseline."""
