"""The student network: image to score distribution, its training, export and the light runtime."""
